"""Concurrency limits, rates and events."""

import asyncio

from prefect import flow
from prefect.concurrency.asyncio import concurrency as concurrency_async
from prefect.concurrency.asyncio import rate_limit as rate_limit_async
from prefect.concurrency.sync import concurrency, rate_limit
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
    try:
        with concurrency("compat-limit", occupy=2):
            pass
    except NotImplementedError as error:
        print(error)


if __name__ == "__main__":
    asyncio.run(asynchronous())
    plain()
