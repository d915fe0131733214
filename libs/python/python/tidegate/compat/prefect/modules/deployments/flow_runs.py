"""`prefect.deployments.flow_runs`."""

from ..._deployments import run_deployment

# Where there is an event loop, it gives an awaitable itself.
arun_deployment = run_deployment

__all__ = ["arun_deployment", "run_deployment"]
