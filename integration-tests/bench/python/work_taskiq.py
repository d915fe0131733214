"""The worker of taskiq with Redis as its broker and its result backend: `taskiq worker work_taskiq:broker`."""

import os
import time

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

REDIS = os.environ["BENCH_REDIS"] + "/2"


# The broker that acknowledges: its list broker loses what a worker held when it dies.
broker = RedisStreamBroker(REDIS).with_result_backend(RedisAsyncResultBackend(REDIS, result_ex_time=600))


@broker.task
async def nothing(n: int) -> int:
    """Finishes at once, and tells when it began: by the monotonic clock of this machine, in nanoseconds."""
    return time.monotonic_ns()
