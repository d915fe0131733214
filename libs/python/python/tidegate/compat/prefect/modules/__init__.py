"""`prefect`. Every module of this package stands for the module of `prefect` with its name."""

from ...._logging import get_run_logger
from ....context import tags
from .._annotations import allow_failure, unmapped
from .._client import get_client
from .._functions import Flow, Task, flow, task
from .._futures import as_completed, wait
from .._pausing import pause_flow_run, resume_flow_run, suspend_flow_run
from .._serving import aserve, serve
from .._states import State

#: The release whose names these are.
__version__ = "3.8.3+tidegate"

# Where there is an event loop, these give an awaitable themselves.
apause_flow_run, aresume_flow_run, asuspend_flow_run = pause_flow_run, resume_flow_run, suspend_flow_run

__all__ = [
    "Flow",
    "State",
    "Task",
    "__version__",
    "allow_failure",
    "apause_flow_run",
    "aresume_flow_run",
    "as_completed",
    "aserve",
    "asuspend_flow_run",
    "flow",
    "get_client",
    "get_run_logger",
    "pause_flow_run",
    "resume_flow_run",
    "serve",
    "suspend_flow_run",
    "tags",
    "task",
    "unmapped",
    "wait",
]
