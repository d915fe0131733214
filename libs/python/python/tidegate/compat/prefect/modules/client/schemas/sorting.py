"""`prefect.client.schemas.sorting`."""

from ...._sorting import FlowRunSort, TaskRunSort

__all__ = ["FlowRunSort", "TaskRunSort"]
