"""`prefect.flow_runs`."""

from .._pausing import pause_flow_run, resume_flow_run, suspend_flow_run
from .._waiting import wait_for_flow_run

__all__ = ["pause_flow_run", "resume_flow_run", "suspend_flow_run", "wait_for_flow_run"]
