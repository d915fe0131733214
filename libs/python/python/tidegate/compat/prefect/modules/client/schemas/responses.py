"""`prefect.client.schemas.responses`."""

from ...._client import OrchestrationResult

__all__ = ["OrchestrationResult"]
