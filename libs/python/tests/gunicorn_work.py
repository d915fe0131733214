"""A web program for gunicorn, and the worker of what it has done: `python gunicorn_work.py QUEUE`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, Callable

from tidegate import serve, task


@task(name="gunicorn-double")
def double(n: int) -> list[int]:
    return [2 * n, os.getpid()]


def app_of(queue: str) -> Callable[..., list[bytes]]:
    """The application. With `--preload` gunicorn calls this in its master, which so has connections before it forks."""
    here = double.with_options(queue=queue, tags=[queue])
    before = [here.delay(0).id, here(0)[1]]

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        n = int(environ["QUERY_STRING"])
        answer = {"pid": os.getpid(), "before": before, "queued": here.delay(n).id, "called": here(n)}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    return app


if __name__ == "__main__":
    serve(double, queues=[sys.argv[1]])
