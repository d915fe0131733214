"""A flow and its tasks, whose trace is looked at: `python trace_work.py call QUEUE` or `serve QUEUE`."""

from __future__ import annotations

import sys

from tidegate import flow, serve, task


@task(name="traced-local")
def local(n: int) -> int:
    return n


@task(name="traced-inner")
def inner(n: int) -> int:
    return local(n) + 1


@flow(name="traced-outer")
def outer(n: int) -> int:
    result: int = inner.with_options(queue=sys.argv[2]).delay(n).result()
    return result


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(outer, inner, queues=[sys.argv[2]])
    else:
        print(outer.with_options(queue=sys.argv[2]).delay(3).result())
