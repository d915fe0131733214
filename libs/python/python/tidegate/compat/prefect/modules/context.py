"""`prefect.context`."""

from ....context import tags
from .._errors import MissingContextError
from .._runtime import EngineContext, FlowRunContext, TaskRunContext, get_run_context

__all__ = ["EngineContext", "FlowRunContext", "MissingContextError", "TaskRunContext", "get_run_context", "tags"]
