"""`prefect.tasks`."""

from .._functions import Task, task

__all__ = ["Task", "task"]
