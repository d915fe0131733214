"""`prefect.runner`."""

from ..._serving import serve
from ..._submitted import submit_to_runner, wait_for_submitted_runs

__all__ = ["serve", "submit_to_runner", "wait_for_submitted_runs"]
