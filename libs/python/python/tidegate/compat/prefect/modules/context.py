"""`prefect.context`."""

from .._runtime import EngineContext, FlowRunContext, TaskRunContext, get_run_context
from .._errors import MissingContextError

__all__ = ["EngineContext", "FlowRunContext", "MissingContextError", "TaskRunContext", "get_run_context"]
