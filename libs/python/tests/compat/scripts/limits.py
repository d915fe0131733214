"""Concurrency limits, rates and events."""

import asyncio
import sys

from prefect import flow
from prefect.concurrency.asyncio import AcquireConcurrencySlotTimeoutError
from prefect.concurrency.asyncio import concurrency as concurrency_async
from prefect.concurrency.asyncio import rate_limit as rate_limit_async
from prefect.concurrency.sync import ConcurrencySlotAcquisitionError, concurrency, rate_limit
from prefect.events import emit_event


@flow
async def asynchronous() -> None:
    async with concurrency_async("compat-limit", occupy=1, timeout_seconds=30):
        await rate_limit_async("compat-rate")
    print("held")


@flow
def plain() -> None:
    with concurrency(["compat-limit", "compat-other"], occupy=1):
        rate_limit("compat-rate")
    print(emit_event("order.shipped", resource={"prefect.resource.id": "order.1"}).event)


@flow
def several(limit: str) -> None:
    """`limit` has three slots."""
    with concurrency(limit, occupy=2, strict=True):
        with concurrency(limit, occupy=1, timeout_seconds=30):
            print("two and one")
        try:
            with concurrency(limit, occupy=2, timeout_seconds=0.1):
                print("never")
        except TimeoutError as error:
            print(isinstance(error, AcquireConcurrencySlotTimeoutError), "no 2 slots left" in str(error))
    try:
        with concurrency(limit, occupy=4):
            print("never")
    except ConcurrencySlotAcquisitionError as error:
        print(error)


@flow
async def strict() -> None:
    for limited in (concurrency_async("compat-nowhere", strict=True),):
        try:
            async with limited:
                print("never")
        except ConcurrencySlotAcquisitionError as error:
            print(error)
    try:
        await rate_limit_async("compat-nowhere", occupy=3, strict=True)
    except ConcurrencySlotAcquisitionError as error:
        print(type(error).__name__)
    await rate_limit_async("compat-nowhere", occupy=3)
    print("does not bind")


if __name__ == "__main__":
    asyncio.run(asynchronous())
    plain()
    several(sys.argv[1])
    asyncio.run(strict())
