"""`prefect.task_worker`."""

from .._serving import serve_tasks as serve

__all__ = ["serve"]
