"""The worker of Tidegate, and what is called there."""

import os
import time

from tidegate import flow, serve, task


@task
def nothing(n: int) -> int:
    """Finishes at once, and tells when it began: by the monotonic clock of this machine, in nanoseconds."""
    return time.monotonic_ns()


@flow(max_workers=4)
def submits(n: int) -> int:
    """Submits as many tasks and waits for all."""
    return len([future.result() for future in nothing.map(range(n))])


if __name__ == "__main__":
    serve(nothing, limit=int(os.environ["BENCH_CONCURRENCY"]))
