"""Tidegate: workflows and background tasks that are never lost.

    from tidegate import flow, task, serve

    @task(retries=2)
    def add(a: int, b: int) -> int:
        return a + b

    handle = add.delay(1, 2)      # durable once this returns; any worker that serves `add` executes it
    print(handle.id, handle.result())

    serve(add)                    # in another process: execute the runs of `add`
"""

from ._core import __version__
from ._logging import get_run_logger
from ._runtime import current_run
from .blocks import concurrency, rate_limit
from .context import tags
from .errors import (
    AlreadyExists,
    InvalidArgument,
    NonRetryable,
    NotFound,
    ParameterError,
    PayloadError,
    RunCancelled,
    RunCrashed,
    RunError,
    RunFailed,
    ServerUnavailable,
    SlotsLost,
    TidegateError,
    UpstreamFailed,
    WaitTimeout,
    WouldDeadlock,
)
from .functions import Flow, Function, Task, flow, task
from .futures import Future, FutureList, as_completed, unmapped, wait
from .handles import RunHandle, gather, get_run
from .pausing import pause, suspend, wait_for_input
from .runs import (
    cancel_run,
    find_runs,
    pause_run,
    resume_run,
    retry_run,
    suspend_run,
    wait_for_flow_run,
    wait_for_task_run,
)
from .schedules import Cron, Interval, RRule
from .serving import serve
from .states import State

__all__ = [
    "AlreadyExists",
    "Cron",
    "Flow",
    "Function",
    "Future",
    "FutureList",
    "Interval",
    "InvalidArgument",
    "NonRetryable",
    "NotFound",
    "ParameterError",
    "PayloadError",
    "RRule",
    "RunCancelled",
    "RunCrashed",
    "RunError",
    "RunFailed",
    "RunHandle",
    "ServerUnavailable",
    "SlotsLost",
    "State",
    "Task",
    "TidegateError",
    "UpstreamFailed",
    "WaitTimeout",
    "WouldDeadlock",
    "__version__",
    "as_completed",
    "cancel_run",
    "concurrency",
    "current_run",
    "find_runs",
    "flow",
    "gather",
    "get_run",
    "get_run_logger",
    "pause",
    "pause_run",
    "rate_limit",
    "resume_run",
    "retry_run",
    "serve",
    "suspend",
    "suspend_run",
    "tags",
    "task",
    "unmapped",
    "wait",
    "wait_for_flow_run",
    "wait_for_input",
    "wait_for_task_run",
]
