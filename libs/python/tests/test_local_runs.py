"""Flows and tasks that this process executes and reports, against a real server."""

from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import threading
import uuid
from typing import Any

import pytest

import tidegate
from conftest import PATIENCE
from tidegate import Future, ParameterError, PayloadError, RunFailed, TidegateError, UpstreamFailed, current_run, find_runs
from tidegate import flow, gather, get_run, get_run_logger, task, wait
from tidegate._connection import block, client
from tidegate.cache_policies import TASK_SOURCE

pytestmark = pytest.mark.usefixtures("server")


@task
def double(n: int) -> int:
    return 2 * n


@task
async def double_async(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


@task
def fails(message: str = "no") -> None:
    raise ValueError(message)


@task
def fails_to_be_a_number() -> str:
    return "two"


def children_of(run_id: str) -> list[Any]:
    runs, _ = block(client().list_runs(f'parent_run_id = "{run_id}"', 1000, ""))
    return list(runs)


def run_id() -> str:
    run = current_run()
    assert run is not None
    return run.run_id


def test_a_call_is_a_run_with_its_result() -> None:
    @flow
    def outer() -> tuple[str, int]:
        return run_id(), double(4)

    flow_id, value = outer()
    assert value == 8
    assert get_run(flow_id).result() == [flow_id, 8]
    (child,) = children_of(flow_id)
    assert (child.name, child.kind, child.state[0], child.root_run_id) == ("double", "task", "COMPLETED", flow_id)


@pytest.mark.every_python
def test_submitted_tasks_and_flows_run_at_once() -> None:
    together = threading.Barrier(3, timeout=20)

    @task
    def meet() -> int:
        together.wait()
        return 1

    @flow
    def subflow() -> int:
        together.wait()
        return 10

    @flow
    def outer() -> int:
        futures = [meet.submit(), meet.submit(), subflow.submit()]
        assert all(future.id for future in futures)
        return sum(future.result() for future in futures)

    assert outer() == 12


def test_futures_are_dependencies() -> None:
    @task
    def total(parts: list[int], extra: dict[str, int]) -> int:
        return sum(parts) + extra["x"]

    @flow
    def outer() -> int:
        first = double.submit(1)
        second = double.submit(first)
        result: int = total.submit([first, second], {"x": double_async.submit(second)}).result()
        return result

    assert outer() == 2 + 4 + 8


def test_arguments_may_hold_themselves_and_be_nested_deep() -> None:
    @task
    def size(value: Any) -> int:
        return len(value)

    endless: list[Any] = [1]
    endless.append(endless)
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert [size(endless), size.submit(endless).result(), size.map([endless, deep]).result()] == [2, 2, [2, 1]]
    with pytest.raises(PayloadError, match=r"the argument `value` of `size` cannot travel: `value\[0\]\[0\]"):
        size.delay(deep)


def test_dependents_of_a_failure_are_not_executed() -> None:
    @flow
    def outer() -> list[Any]:
        upstream = fails.submit()
        dependent = double.submit(upstream)
        with pytest.raises(ValueError, match="no"):
            upstream.result()
        # Neither a retry nor the result of another run makes another end of it.
        cached = double.with_options(retries=3, cache_policy=TASK_SOURCE)
        assert cached(1) == 2
        unlucky = cached.submit(upstream)
        for future in (dependent, unlucky):
            with pytest.raises(UpstreamFailed, match="not executed"):
                future.result()
        return [run_id(), upstream.id, dependent.id, unlucky.id]

    flow_id, upstream, *dependents = outer()
    said = f"run {upstream}, whose result it needs, did not complete: ValueError: no"
    for dependent in dependents:
        run = get_run(dependent).run()
        assert (run.state, run.attempt) == (("FAILED", "UpstreamFailed", said), 0)
        with pytest.raises(UpstreamFailed) as failed:
            get_run(dependent).result()
        assert (failed.value.error_type, failed.value.error_message) == ("UpstreamFailed", said)
        assert str(failed.value) == f"run {dependent} (double) failed: UpstreamFailed: {said}"
        explained = subprocess.run(
            [os.environ["TIDEGATE_BIN"], "run", "explain", dependent], capture_output=True, text=True, timeout=PATIENCE
        ).stdout
        assert f"It was not executed: {said}." in explained
    found = find_runs("state_name = UpstreamFailed", parent=flow_id)
    assert {handle.id for handle in found} == set(dependents)


def test_a_dependent_of_what_took_too_long_says_so() -> None:
    @task(timeout_seconds=0.1)
    def endless() -> int:
        while True:
            pass

    @flow
    def outer() -> list[Any]:
        upstream = endless.submit()
        dependent = double.submit(upstream)
        for future in (upstream, dependent):
            with pytest.raises(RunFailed):
                future.result()
        return [upstream.id, dependent.id]

    upstream, dependent = outer()
    said = f"run {upstream}, whose result it needs, did not complete: TimedOut"
    assert get_run(dependent).run().state == ("FAILED", "UpstreamFailed", said)


def test_a_dependent_of_what_never_became_a_run_has_failed_as_well() -> None:
    @flow
    def outer() -> str:
        wrong: Any = fails_to_be_a_number.submit()
        never: Any = double.submit(wrong)
        dependent = double.submit(never)
        with pytest.raises(ParameterError):
            never.result()
        with pytest.raises(UpstreamFailed, match="the result of a call that failed before it became a run. Mend that one first"):
            dependent.result()
        assert dependent.id
        assert dependent.state[:2] == get_run(dependent.id).state[:2] == ("FAILED", "Failed")
        return dependent.id

    with pytest.raises(UpstreamFailed):
        get_run(outer()).result()


@pytest.mark.every_python
def test_map_and_many() -> None:
    @flow
    def outer() -> list[int]:
        return [future.result() for future in double.map(range(300))]

    assert outer() == [2 * n for n in range(300)]


def test_flows_are_mapped() -> None:
    @flow
    def inner(n: int) -> int:
        return double.submit(n).result() + 1

    @flow(max_workers=1)
    def outer() -> tuple[str, list[int]]:
        return run_id(), inner.map(range(3)).result()

    flow_id, values = outer()
    assert values == [1, 3, 5]
    assert [(child.kind, child.name, child.state[0]) for child in children_of(flow_id)] == [("flow", "inner", "COMPLETED")] * 3


def test_more_large_results_than_are_held_at_a_time() -> None:
    @task
    def large(n: int) -> bytes:
        return bytes([n]) * (9 << 20)

    @task
    async def large_async(n: int) -> bytes:
        return bytes([n]) * (9 << 20)

    @flow
    def outer() -> tuple[str, int]:
        futures = [large.submit(n) for n in range(6)] + [large_async.submit(n) for n in range(6)]
        return run_id(), sum(len(future.result()) for future in futures)

    flow_id, n_bytes = outer()
    assert n_bytes == 12 * (9 << 20)
    children = [get_run(child.id) for child in children_of(flow_id)]
    assert len(children) == 12
    assert all(len(value) == 9 << 20 for value in gather(children, timeout=PATIENCE))


@pytest.mark.parametrize("is_async", [False, True])
def test_a_flow_waits_for_what_it_submitted(is_async: bool) -> None:
    release, ended = threading.Event(), []

    @task
    def slow() -> None:
        release.wait(20)
        ended.append(1)

    @flow
    def outer() -> None:
        slow.submit()
        threading.Timer(0.2, release.set).start()

    @flow
    async def outer_async() -> None:
        slow.submit()
        threading.Timer(0.2, release.set).start()

    if is_async:
        asyncio.run(outer_async())
    else:
        outer()
    assert ended == [1]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_failure_that_nobody_looked_at_fails_the_flow(is_async: bool) -> None:
    futures: list[Future[Any]] = []

    def submits() -> str:
        futures.extend([fails.submit("lost"), double.submit(1), fails.submit("lost as well")])
        return "fine"

    async def submits_async() -> str:
        return submits()

    outer: Any = flow(name="outer")(submits_async if is_async else submits)
    with pytest.raises(TidegateError) as failed:
        asyncio.run(outer()) if is_async else outer()
    assert str(failed.value) == (
        f"2 submitted runs failed and nobody asked for their results: fails ({futures[0].id}), fails ({futures[2].id}). Ask each "
        'future for its result(), or let `outer` have on_unawaited_failure="ignore". The first failure: ValueError: lost'
    )


def test_a_future_tells_the_state_of_its_run() -> None:
    futures: list[Future[Any]] = []

    @task(cache_key=uuid.uuid4().hex)
    def keyed() -> int:
        return 1

    @task(timeout_seconds=0.1)
    def endless() -> None:
        while True:
            pass

    @task
    def passes_on() -> None:
        endless()

    @flow
    def outer() -> None:
        first, failed = keyed.submit(), fails.submit()
        first.result()
        futures.extend([first, keyed.submit(), failed, double.submit(failed), endless.submit(), passes_on.submit()])
        wait(futures)

    outer()
    names = ["Completed", "Cached", "Failed", "UpstreamFailed", "TimedOut", "Failed"]
    assert [future.state.name for future in futures] == names
    for future in futures:
        assert future.id is not None
        run = get_run(future.id)
        assert run.wait(PATIENCE) and run.state[:2] == future.state[:2]


def test_an_exception_is_the_callers_and_the_servers() -> None:
    seen = []

    @flow
    def outer() -> None:
        seen.append(run_id())
        fails("both")

    with pytest.raises(ValueError, match="both"):
        outer()
    with pytest.raises(RunFailed) as failed:
        get_run(seen[0]).result()
    assert (failed.value.error_type, failed.value.error_message) == ("ValueError", "both")


def test_retries_are_the_servers_verdict() -> None:
    attempts = []

    @task(retries=2, retry_delay_seconds=0.05)
    def third_time() -> int:
        run = current_run()
        assert run is not None
        attempts.append(run.attempt)
        if run.attempt < 3:
            raise ValueError("not yet")
        return run.attempt

    @flow
    def outer() -> tuple[str, int]:
        return run_id(), third_time()

    flow_id, value = outer()
    assert (value, attempts) == (3, [1, 2, 3])
    assert children_of(flow_id)[0].attempt == 3


@pytest.mark.every_python
def test_async_flows() -> None:
    @flow
    async def outer() -> int:
        future = double_async.submit(2)
        return await double_async(1) + await future + double(3)

    assert asyncio.run(outer()) == 2 + 4 + 6


def test_async_retries_and_failures() -> None:
    attempts = []

    @task(retries=1)
    async def second_time() -> int:
        attempts.append(1)
        if len(attempts) < 2:
            raise ValueError("not yet")
        return len(attempts)

    @flow
    async def outer() -> int:
        return await second_time()

    assert asyncio.run(outer()) == 2


@pytest.mark.every_python
def test_a_timeout_interrupts() -> None:
    @task(timeout_seconds=0.2)
    def endless() -> None:
        while True:
            pass

    @task(timeout_seconds=0.2)
    async def endless_async() -> None:
        await asyncio.sleep(60)

    @flow
    def outer() -> None:
        with pytest.raises(RunFailed, match="did not end within 0.2 s"):
            endless()
        with pytest.raises(RunFailed, match="did not end within 0.2 s"):
            endless_async.submit().result()

    outer()


@pytest.mark.every_python
def test_the_interrupt_of_a_flow_goes_through_what_it_has_called() -> None:
    ids = []

    @task
    def endless() -> None:
        ids.append(run_id())
        while True:
            pass

    @flow(timeout_seconds=2)
    def outer() -> None:
        ids.append(run_id())
        endless()
        raise AssertionError("it was not interrupted")

    with pytest.raises(RunFailed, match="did not end within 2 s"):
        outer()
    outer_id, child_id = ids
    assert get_run(outer_id).run().state[1] == "TimedOut"
    assert get_run(child_id).wait(20)
    assert get_run(child_id).state.type in ("CRASHED", "CANCELLED")


@pytest.mark.every_python
def test_an_interrupt_that_a_called_task_swallows_reaches_its_flow() -> None:
    @task
    def swallows() -> None:
        try:
            while True:
                pass
        except tidegate.errors.Interrupted:
            pass

    @flow(timeout_seconds=0.3)
    def outer() -> None:
        swallows()
        while True:
            pass

    with pytest.raises(RunFailed, match="did not end within 0.3 s"):
        outer()


def test_a_run_whose_retry_does_not_come_is_ended() -> None:
    flow_ids = []

    @task(retries=1, retry_delay_seconds=600)
    def fails_at_first() -> None:
        raise ValueError("not yet")

    @flow(timeout_seconds=0.5)
    def outer() -> None:
        flow_ids.append(run_id())
        fails_at_first()

    with pytest.raises(RunFailed, match="did not end within 0.5 s"):
        outer()
    (child,) = children_of(flow_ids[0])
    assert get_run(child.id).wait(20)


def test_what_an_interrupted_flow_has_queued_does_not_begin() -> None:
    executed = []

    @task
    def one(n: int) -> None:
        executed.append(n)
        while True:
            pass

    @flow(timeout_seconds=0.5, max_workers=1)
    def outer() -> None:
        first, second = one.submit(1), one.submit(2)
        dependent = one.submit(second)
        futures.extend([first, second, dependent])
        while True:
            pass

    futures: list[Future] = []
    with pytest.raises(RunFailed, match="did not end within 0.5 s"):
        outer()
    assert futures[1].wait(20) and executed == [1]
    assert futures[1].state.is_cancelled()


@pytest.mark.every_python
def test_a_cancel_interrupts_the_whole_tree() -> None:
    started = threading.Event()
    ids: list[str] = []

    @task
    def endless() -> None:
        started.set()
        while True:
            pass

    @flow
    def outer() -> None:
        ids.append(run_id())
        endless.submit().result()

    def cancel() -> None:
        started.wait(20)
        get_run(ids[0]).cancel("enough")

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(tidegate.RunCancelled):
        outer()
    canceller.join()
    assert get_run(ids[0]).wait(20) and get_run(ids[0]).state.is_cancelled()
    (child,) = children_of(ids[0])
    assert child.state[0] == "CANCELLED"


def test_logs_of_local_runs() -> None:
    @flow(log_prints=True)
    def outer() -> str:
        get_run_logger().warning("careful")
        print("printed", 1)
        return run_id()

    flow_id = outer()
    assert block(client().flush_logs(20.0))
    assert get_run(flow_id).logs() == ["careful", "printed 1"]


def test_arguments_that_cannot_travel_are_fine_here() -> None:
    lock = threading.Lock()

    @task
    def hold(it: Any) -> Any:
        return it

    assert hold(lock) is lock


def test_submit_outside_of_a_flow() -> None:
    future: Future = double.submit(5)
    assert future.result(20) == 10


def test_a_task_in_a_task_in_a_pool() -> None:
    @task
    def outer_task(n: int) -> int:
        return sum(future.result() for future in double.map([n, n + 1]))

    @flow(max_workers=2)
    def outer() -> int:
        return sum(future.result() for future in outer_task.map(range(8)))

    assert outer() == sum(2 * n + 2 * (n + 1) for n in range(8))


def test_only_some_errors_are_retried() -> None:
    raised: list[str] = []

    def fails_with(kind: type[Exception]) -> None:
        raised.append(kind.__name__)
        raise kind

    @flow
    def outer() -> None:
        for options in ({"retry_on": [KeyError]}, {"never_retry_on": [ValueError]}):
            fails = task(retries=1, **options)(fails_with)
            for kind in (KeyError, ValueError):
                with pytest.raises(kind):
                    fails(kind)

    outer()
    assert raised == ["KeyError", "KeyError", "ValueError"] * 2


def test_a_local_run_takes_a_cached_result() -> None:
    executed: list[int] = []

    def key(run: Any, arguments: dict[str, Any]) -> str:
        assert run is None
        return f"{id(executed)} {arguments['n'] % 2}"

    @task(cache_key_fn=key)
    def parity(n: int) -> int:
        executed.append(n)
        return n % 2

    assert [parity(n) for n in range(4)] == [0, 1, 0, 1]
    assert executed == [0, 1]


def test_a_local_run_waits_until_it_is_resumed() -> None:
    begun: queue.Queue[str] = queue.Queue()

    @task(timeout_seconds=60)
    def asks() -> Any:
        begun.put(run_id())
        return tidegate.pause("name", request="who?", timeout=30)

    @task
    async def asks_async() -> Any:
        begun.put(run_id())
        return await tidegate.pause("name", request="who?", timeout=30)

    @flow
    def outer() -> list[Any]:
        futures = [asks.submit(), asks_async.submit()]
        for _ in futures:
            handle = get_run(begun.get(timeout=20))
            while handle.state.type != "PAUSED":
                assert not handle.state.is_ended()
            handle.resume("me")
        with pytest.raises(tidegate.InvalidArgument, match="suspend.. needs a queued run"):
            tidegate.suspend()
        return [future.result() for future in futures]

    assert outer() == ["me", "me"]
    with pytest.raises(tidegate.InvalidArgument, match="call it in the code of a flow or task"):
        tidegate.pause()
