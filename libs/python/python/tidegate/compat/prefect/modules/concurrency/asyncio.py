"""`prefect.concurrency.asyncio`."""

from ..._concurrency import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError
from ..._concurrency import concurrency_async as concurrency
from ..._concurrency import rate_limit_async as rate_limit

__all__ = ["AcquireConcurrencySlotTimeoutError", "ConcurrencySlotAcquisitionError", "concurrency", "rate_limit"]
