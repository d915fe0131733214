"""`prefect.concurrency.sync`."""

from ..._concurrency import concurrency, rate_limit

__all__ = ["concurrency", "rate_limit"]
