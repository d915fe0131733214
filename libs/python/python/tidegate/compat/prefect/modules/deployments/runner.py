"""`prefect.deployments.runner`."""

from ..._serving import RunnerDeployment

__all__ = ["RunnerDeployment"]
