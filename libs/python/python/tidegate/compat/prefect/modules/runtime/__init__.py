"""`prefect.runtime`."""

from . import deployment, flow_run, task_run

__all__ = ["deployment", "flow_run", "task_run"]
