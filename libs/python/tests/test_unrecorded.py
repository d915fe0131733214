"""Calls with recording off: no server is there in any of these tests."""

from __future__ import annotations

import asyncio
import threading
from typing import Iterator

import pytest

from tidegate import _local_calls, functions
from tidegate import InvalidArgument, TidegateError, UpstreamFailed, as_completed, current_run, flow, task

pytestmark = pytest.mark.every_python


@pytest.fixture(autouse=True)
def off(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Recording is off, and whoever asks for a server fails."""
    monkeypatch.setenv("TIDEGATE_RECORDING", "off")
    for module in (_local_calls, functions):
        monkeypatch.setattr(module, "client", lambda: pytest.fail("a server is asked"))
    yield


@task(retries=3)
def double(n: int) -> int:
    return 2 * n


@task
def fails(n: int) -> int:
    raise ValueError(f"no {n}")


@task
async def later(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


def test_a_call_is_one_of_the_plain_function() -> None:
    assert double(2) == 4
    assert asyncio.run(later(2)) == 3  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^no 7$"):
        fails(7)


def test_parameters_are_checked_all_the_same() -> None:
    with pytest.raises(InvalidArgument, match="parameter `n`"):
        double("many")  # type: ignore[arg-type]


def test_a_flow_waits_for_what_it_submitted() -> None:
    go, ended = threading.Event(), threading.Event()

    @task
    def slow() -> None:
        go.wait(60)
        ended.set()

    @flow
    def leaves() -> str:
        slow.submit()
        threading.Timer(0.05, go.set).start()
        return "left"

    assert leaves() == "left"
    assert ended.is_set()


def test_futures_are_dependencies() -> None:
    @flow(max_workers=1)
    def chained(n: int) -> list[int]:
        first = double.submit(n)
        second = later.submit(first)
        return double.map([first, second]).result()

    assert chained(1) == [4, 6]
    done = {future.result() for future in as_completed(double.map(range(5)))}
    assert done == {0, 2, 4, 6, 8}


def test_flows_within_flows_have_threads_of_their_own() -> None:
    @flow(max_workers=1)
    def inner(n: int) -> int:
        return double.submit(n).result() + 1

    @flow(max_workers=1)
    def outer() -> list[int]:
        assert current_run() is None
        return inner.map(range(3)).result()

    assert outer() == [1, 3, 5]


def test_a_failure_that_nobody_looked_at_fails_the_flow() -> None:
    @flow
    def careless() -> None:
        fails.submit(1)

    with pytest.raises(TidegateError, match=r"1 submitted run failed and nobody asked for its result: fails\. "):
        careless()

    @flow
    def more_careless() -> None:
        for n in range(12):
            fails.submit(n)

    with pytest.raises(TidegateError, match=r"12 submitted runs failed .*: (fails, ){9}fails and 2 more\. Ask each .*: no 0$"):
        more_careless()


def test_what_depends_on_a_failure_is_not_executed() -> None:
    @flow
    def depends() -> int:
        return double.submit(fails.submit(1)).result()

    with pytest.raises(UpstreamFailed, match="`double` was not executed: it needs the result of `fails`, which failed: no 1"):
        depends()


def test_a_word_that_means_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_RECORDING", "no")
    with pytest.raises(InvalidArgument, match="TIDEGATE_RECORDING is 'no': say `off`"):
        double(1)
