"""`prefect.tasks`."""

from .._caching import exponential_backoff, task_input_hash
from .._functions import Task, task

__all__ = ["Task", "exponential_backoff", "task", "task_input_hash"]
