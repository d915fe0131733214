"""Async flows and tasks, awaited and submitted (thread S2)."""

import asyncio

from prefect import flow, task


@task
async def fetch(n: int) -> int:
    await asyncio.sleep(0)
    return n


@task
def count(numbers: list[int]) -> int:
    return sum(numbers)


@flow
async def child(n: int) -> int:
    return await fetch(n) + fetch.submit(n).result()


@flow
async def parent() -> int:
    numbers = await asyncio.gather(*(child(n) for n in range(3)))
    submitted = [child.submit(n) for n in range(3)]
    again = [future.result() for future in submitted]
    state = await fetch(5, return_state=True)
    print(numbers, again, await state.result())
    return count(numbers)


if __name__ == "__main__":
    print("sum", asyncio.run(parent()))
