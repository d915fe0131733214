"""`prefect`. Every module of this package stands for the module of `prefect` with its name."""

from ...._logging import get_run_logger
from .._annotations import allow_failure, unmapped
from .._functions import Flow, Task, flow, task
from .._futures import as_completed, wait
from .._states import State

#: The release whose names these are.
__version__ = "3.8.3+tidegate"

__all__ = [
    "Flow",
    "State",
    "Task",
    "__version__",
    "allow_failure",
    "as_completed",
    "flow",
    "get_run_logger",
    "task",
    "unmapped",
    "wait",
]
