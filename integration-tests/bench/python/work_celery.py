"""The worker of Celery with Redis as its broker and its result backend: `celery -A work_celery worker`."""

import os
import time

from celery import Celery

REDIS = os.environ["BENCH_REDIS"] + "/1"
app = Celery("work", broker=REDIS, backend=REDIS)
app.conf.update(
    broker_connection_retry_on_startup=True,
    result_expires=600,
    task_acks_late=True,  # what is lost with a worker is delivered again: the least that the others do
    worker_prefetch_multiplier=int(os.environ["BENCH_CONCURRENCY"]),
    worker_hijack_root_logger=False,
)


@app.task
def nothing(n):
    """Finishes at once, and tells when it began: by the monotonic clock of this machine, in nanoseconds."""
    return time.monotonic_ns()
