"""The worker of taskiq with Redis as its broker and its result backend: `taskiq worker work_taskiq:broker`."""

import os
import time

from taskiq import TaskiqMiddleware
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from ends import Ends

REDIS = os.environ["BENCH_REDIS"] + "/2"
ends = Ends()


class Count(TaskiqMiddleware):
    """Counts results that have been stored."""

    def post_save(self, message, result):
        if message.task_name == nothing.task_name:
            ends.one()


# The broker that acknowledges: its list broker loses what a worker held when it dies.
broker = (
    RedisStreamBroker(REDIS)
    .with_result_backend(RedisAsyncResultBackend(REDIS, result_ex_time=600))
    .with_middlewares(Count())
)


@broker.task
async def nothing(n: int) -> None:
    """Finishes at once."""


@broker.task
async def now() -> int:
    """When it began, by the monotonic clock of this machine, in nanoseconds."""
    return time.monotonic_ns()
