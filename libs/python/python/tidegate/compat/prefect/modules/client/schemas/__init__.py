"""`prefect.client.schemas`."""

from ...._states import State, StateDetails, StateType
from ...._objects import FlowRun, TaskRun

__all__ = ["FlowRun", "State", "StateDetails", "StateType", "TaskRun"]
