"""A worker whose runs go on until there is a file."""

from __future__ import annotations

import os
import sys
import time

from tidegate import flow, serve, task


@task(name="drain-waits")
def waits(path: str) -> int:
    while not os.path.exists(path):
        time.sleep(0.02)
    return os.getpid()


@flow(name="drain-waits-in-a-process")
def waits_in_a_process(path: str) -> int:
    return waits(path)


@task(name="drain-pid")
def pid() -> int:
    return os.getpid()


if __name__ == "__main__":
    # A signal would end its runs at once.
    serve(waits, waits_in_a_process, pid, queues=[sys.argv[1]], drain_seconds=0)
