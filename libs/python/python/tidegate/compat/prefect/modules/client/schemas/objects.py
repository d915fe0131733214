"""`prefect.client.schemas.objects`."""

from ...._states import State, StateDetails, StateType, TERMINAL_STATES
from ...._objects import Flow, FlowRun, TaskRun

__all__ = ["Flow", "FlowRun", "State", "StateDetails", "StateType", "TERMINAL_STATES", "TaskRun"]
