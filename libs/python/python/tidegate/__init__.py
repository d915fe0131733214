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
)
from .functions import Flow, Function, Task, flow, task
from .futures import Future, as_completed, wait
from .handles import RunHandle, gather, get_run
from .pausing import pause, suspend
from .serving import serve
from .states import State

__all__ = [
    "AlreadyExists",
    "Flow",
    "Function",
    "Future",
    "InvalidArgument",
    "NonRetryable",
    "NotFound",
    "ParameterError",
    "PayloadError",
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
    "__version__",
    "as_completed",
    "concurrency",
    "current_run",
    "flow",
    "gather",
    "get_run",
    "get_run_logger",
    "pause",
    "rate_limit",
    "serve",
    "suspend",
    "task",
    "wait",
]
