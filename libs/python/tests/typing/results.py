"""What type checkers know of calls: checked by mypy and pyright, never executed.

A line with an `ignore` must be an error: both checkers report one that is not needed.
"""

from __future__ import annotations

from typing import Any, Optional, Union

from typing_extensions import assert_type

from tidegate import Future, RunHandle, as_completed, flow, gather, get_run, task


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task(retries=2)
async def fetch(url: str) -> bytes:
    return url.encode()


@flow(name="report")
def report(day: str) -> list[str]:
    return [day]


def calls() -> None:
    assert_type(add(1, b=2), int)
    assert_type(report("monday"), list[str])
    add("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    report()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def submitted() -> None:
    assert_type(await fetch("x"), bytes)
    assert_type(add.submit(1), Future[int])
    assert_type(add.submit(add.submit(1), wait_for=[report.submit("monday")]).result(), int)
    assert_type(fetch.submit("x"), Future[bytes])
    assert_type(fetch.submit("x").result(timeout=3), bytes)
    assert_type(await fetch.submit("x"), bytes)
    assert_type(await add.submit(1), int)
    assert_type(add.submit(1).result(raise_on_failure=False), Union[int, BaseException])
    for future in as_completed([add.submit(1), add.submit(2)]):
        assert_type(future, Future[int])


async def delayed() -> None:
    assert_type(add.delay(1).created, Optional[bool])
    assert_type(add.delay(1), RunHandle[int])
    assert_type(fetch.delay(url="x"), RunHandle[bytes])
    assert_type(fetch.delay("x").result(), bytes)
    assert_type(await report.delay("monday"), list[str])
    assert_type(gather([add.delay(1), add.delay(2)]), list[int])
    assert_type(get_run("0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b"), RunHandle[Any])
    add.delay("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    fetch.delay()  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]


def mapped() -> None:
    assert_type([future.result() for future in add.map([1, 2], [3, 4])], list[int])
    assert_type([future.result() for future in fetch.map(["x", "y"])], list[bytes])
    assert_type([handle.result() for handle in add.delay_map([1, 2])], list[int])
    assert_type([handle.result() for handle in fetch.delay_map(["x"])], list[bytes])


def with_other_options() -> None:
    assert_type(add.with_options(queue="slow")(1), int)
    assert_type(add.with_options(retries=3).delay(1), RunHandle[int])
    assert_type(fetch.with_options(tags=["web"]).submit("x"), Future[bytes])
    assert_type(report.with_options(name="other").fn("monday"), list[str])
    add.with_options(queue="slow")("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
