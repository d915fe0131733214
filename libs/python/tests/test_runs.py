"""Runs that are there already, and what running code knows of itself."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

import tidegate
import work_authoring
from conftest import PATIENCE, Processes
from test_end_to_end import until
from tidegate import (
    Future,
    InvalidArgument,
    NotFound,
    RunCancelled,
    RunFailed,
    RunHandle,
    TidegateError,
    UpstreamFailed,
    WaitTimeout,
    WouldDeadlock,
    as_completed,
    cancel_run,
    current_run,
    find_runs,
    flow,
    get_run,
    pause_run,
    resume_run,
    retry_run,
    suspend_run,
    tags,
    task,
    unmapped,
    wait,
    wait_for_flow_run,
    wait_for_input,
    wait_for_task_run,
)
from tidegate.deployments import run_deployment
from tidegate.runtime import deployment, flow_run, task_run

pytestmark = pytest.mark.usefixtures("server")

NOBODY = "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b"


@pytest.fixture
def queue() -> str:
    """A queue of this test alone."""
    return f"q-{uuid.uuid4().hex[:12]}"


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


@flow
def ids() -> tuple[str, str]:
    future = double.submit(1)
    future.result()
    run = current_run()
    assert run is not None and future.id is not None
    return run.run_id, future.id


class TestFinding:
    def test_by_what_they_have(self, queue: str) -> None:
        label, made = {"test": queue}, double.with_options(queue=queue, labels={"test": queue})
        first = made.with_options(tags=["a", "b c"]).delay(1)
        second = made.with_options(tags=["a"]).delay(2)
        assert find_runs(labels=label) == [second, first]
        assert find_runs(labels=label, limit=1) == [second]
        assert find_runs(labels=label, limit=0) == [second, first]
        assert find_runs(labels=label, tags=["a", "b c"]) == [first]
        assert find_runs(labels=label, tags="a", name="dou*") == [second, first]
        assert find_runs(labels=label, name="other") == []
        second.cancel()
        assert find_runs(labels=label, state="scheduled") == [first]
        assert find_runs(labels=label, state=["CANCELLED", "SCHEDULED"]) == [second, first]
        assert find_runs('kind = FLOW OR state = CANCELLED', labels=label) == [second]
        assert find_runs(filter='name = "double"', labels={"test": 'a "quoted" value'}) == []

    def test_by_their_parent(self) -> None:
        flow_id, task_id = ids()
        assert find_runs(parent=flow_id) == [RunHandle(task_id)] == find_runs(parent=get_run(flow_id), name="double")

    def test_by_the_key_that_made_them(self, queue: str) -> None:
        handle = double.with_options(queue=queue, idempotency_key=queue).delay(1)
        assert find_runs(idempotency_key=queue, name="double") == [handle]
        assert find_runs(idempotency_key=queue, name="other") == []

    def test_from_async_code(self, queue: str) -> None:
        handle = double.with_options(queue=queue, labels={"test": queue}).delay(1)

        async def in_async() -> Any:
            return await find_runs(labels={"test": queue})

        assert asyncio.run(in_async()) == [handle]

    def test_mistakes_are_told(self) -> None:
        with pytest.raises(InvalidArgument, match="there is no state 'DONE'; the states are SCHEDULED, PENDING"):
            find_runs(state="DONE")
        with pytest.raises(InvalidArgument, match="say name= or parent= with it"):
            find_runs(idempotency_key="k")
        with pytest.raises(InvalidArgument, match="limit is -1"):
            find_runs(limit=-1)


class TestFromSyncAndAsyncCode:
    def test_waiting_by_kind(self) -> None:
        flow_id, task_id = ids()

        async def in_async() -> None:
            assert (await wait_for_flow_run(flow_id)).id == flow_id
            with pytest.raises(NotFound):
                await wait_for_task_run(NOBODY)
            with pytest.raises(InvalidArgument, match="is a flow run"):
                await wait_for_task_run(flow_id)

        assert wait_for_flow_run(flow_id).state[0] == "COMPLETED"
        assert wait_for_task_run(get_run(task_id)).name == "double"
        asyncio.run(in_async())
        with pytest.raises(InvalidArgument) as wrong_kind:
            wait_for_flow_run(task_id)
        assert str(wrong_kind.value) == (
            f"run {task_id} (double) is a task run: wait for it by wait_for_task_run(), or by get_run(id).result(), which takes "
            "both"
        )
        with pytest.raises(NotFound, match=f"there is no flow run {NOBODY}: give the id of a run"):
            wait_for_flow_run(NOBODY)
        with pytest.raises(InvalidArgument, match="`nonsense` is not the id of a run"):
            wait_for_flow_run("nonsense")

    def test_a_wait_may_be_bounded(self, queue: str) -> None:
        handle = double.with_options(queue=queue).delay(1)
        with pytest.raises(WaitTimeout, match=f"run {handle.id} has not ended within"):
            wait_for_task_run(handle, timeout=0.05)

        async def in_async() -> None:
            with pytest.raises(WaitTimeout):
                await wait_for_task_run(handle, timeout=0.05)
            with pytest.raises(WaitTimeout):
                await handle.result_async(timeout=0.05)
            assert not await handle.wait_async(0.05)

        asyncio.run(in_async())

    def test_pause_resume_and_cancel(self, queue: str) -> None:
        made = double.with_options(queue=queue)

        async def in_async() -> RunHandle[int]:
            handle = made.delay(1)
            await pause_run(handle)
            assert (await handle.state_async()).type == "PAUSED"
            await resume_run(handle)
            assert await cancel_run(handle, "enough") == 1
            assert (await handle.run_async()).state[0] == "CANCELLED"
            return handle

        assert asyncio.run(in_async()).state.is_cancelled()
        handle = made.delay(1)
        pause_run(handle.id)
        assert handle.state.type == "PAUSED"
        resume_run(handle)
        assert cancel_run(uuid.UUID(handle.id)) == 1 and handle.done()

    def test_suspend_and_retry(self, processes: Processes, queue: str, tmp_path: Path) -> None:
        path = tmp_path / "notes"
        waiting = double.with_options(queue=f"{queue}-nobody").delay(1)
        suspend_run(waiting)
        assert waiting.state.type == "PAUSED"
        processes.worker("work_authoring.py", queue)
        handle = work_authoring.suspends_and_fails_once.with_options(queue=queue).delay(str(path))
        until(lambda: handle.state.name == "Suspended")
        resume_run(handle, "7")
        with pytest.raises(RunFailed, match="not yet"):
            handle.result(timeout=PATIENCE)
        retry_run(handle, "the cause is mended")
        assert handle.result(timeout=PATIENCE) == 7
        assert path.read_text().split() == ["begun"] * 3

        async def in_async() -> int:
            await retry_run(handle)
            result: int = await handle.result_async(PATIENCE)
            return result

        assert asyncio.run(in_async()) == 7
        assert path.read_text().split() == ["begun"] * 4

    def test_a_request_is_sent_though_nobody_awaits_it(self, queue: str) -> None:
        handle = double.with_options(queue=queue).delay(1)

        async def in_async() -> None:
            cancel_run(handle)
            with pytest.raises(RunCancelled):
                await handle.result_async(PATIENCE)

        asyncio.run(in_async())

    def test_sync_code_of_an_event_loop_gets_the_value(self, queue: str) -> None:
        @task
        def plain() -> int:
            value: int = cancel_run(double.with_options(queue=queue).delay(1))
            return value

        @flow
        async def outer() -> int:
            return plain()

        assert asyncio.run(outer()) == 1


class TestInput:
    def test_wrong_input_is_refused_and_the_run_waits_on(self, processes: Processes, queue: str, tmp_path: Path) -> None:
        path = tmp_path / "notes"
        processes.worker("work_authoring.py", queue)
        handle = work_authoring.asks.with_options(queue=queue).delay(str(path))

        def asked(key: str) -> dict[str, Any]:
            until(lambda: handle.state.type == "PAUSED")
            command = [os.environ["TIDEGATE_BIN"], "run", "inputs", handle.id, "-o", "json"]
            told = until(lambda: _input_of(json.loads(subprocess.check_output(command)), key))
            return dict(told)

        first = asked("approve")
        assert first["request"] == "may I?"
        assert first["schema"]["properties"]["amount"] == {"title": "Amount", "type": "integer"}
        handle.resume({"approved": "yes", "amount": "many"})
        second = asked("approve#2")
        assert second["refused"] == "amount: Input should be a valid integer, unable to parse string as an integer"
        resume_run(handle, {"approved": "yes", "amount": "3"})
        assert handle.result(timeout=PATIENCE) == "Approval approved=True amount=3"
        until(lambda: any("the input for `approve` is refused: amount: " in line for line in handle.logs()))

    def test_input_is_awaited_in_async_code(self, processes: Processes, queue: str) -> None:
        processes.worker("work_authoring.py", queue)
        handle = work_authoring.asks_async.with_options(queue=queue).delay()
        for value in ({"approved": True, "amount": 3}, "7"):
            until(lambda: handle.state.type == "PAUSED")
            handle.resume(value)
        assert handle.result(timeout=PATIENCE) == "Approval 3 7"

    def test_only_runs_wait(self) -> None:
        with pytest.raises(InvalidArgument, match="wait_for_input.. has a run wait: call it in the code of a flow or task"):
            wait_for_input("key", int)


def _input_of(told: Any, key: str) -> Any:
    for each in told if isinstance(told, list) else told["inputs"]:
        if each.get("key", each.get("pause_key")) == key:
            request = each["request"]
            return request if "schema" in request else request.get("value", request.get("data"))
    return None


class TestMany:
    def test_a_submit_waits_for_what_it_needs_in_order_alone(self) -> None:
        order: list[str] = []
        release = threading.Event()

        @task
        def first() -> None:
            release.wait(PATIENCE)
            order.append("first")

        @task
        def second() -> None:
            order.append("second")

        @flow
        def outer() -> None:
            one = first.submit()
            two = second.submit(wait_for=[one])
            assert not two.done()
            release.set()

        outer()
        assert order == ["first", "second"]

    def test_map_takes_constants_and_futures(self) -> None:
        @task
        def joined(a: str, b: list[int], c: int, d: str = "") -> str:
            return f"{a}{b}{c}{d}"

        @task
        def some() -> list[int]:
            return [1, 2]

        @flow
        def outer() -> list[Any]:
            doubled = double.map([1, 2])
            return [
                joined.map("x", unmapped([7]), [1, 2], d=unmapped("!")).result(),
                joined.map("x", unmapped([7]), doubled).result(),
                double.map(some.submit()).result(),
                double.map([double.submit(5)]).result(timeout=PATIENCE),
                double.map([]).result(),
            ]

        assert outer() == [["x[7]1!", "x[7]2!"], ["x[7]2", "x[7]4"], [2, 4], [20], []]
        with pytest.raises(InvalidArgument, match="different lengths: 2 in argument 1, 3 in argument 2.*unmapped"):
            joined.map([1, 2], [1, 2, 3], 1)
        with pytest.raises(InvalidArgument, match="`double.map..` has nothing to go over"):
            double.map(1)

    def test_a_list_of_futures_is_asked_as_one(self) -> None:
        @flow
        def outer() -> list[Any]:
            futures = fails.map(["a", "b"])
            assert futures.wait()
            with pytest.raises(ValueError, match="a"):
                futures.result()
            return [str(error) for error in futures.result(raise_on_failure=False)]

        @flow
        async def outer_async() -> list[Any]:
            futures = double_async.map([1, 2])
            assert await futures.wait_async(PATIENCE)
            return await futures.result_async()

        assert outer() == ["a", "b"]
        assert asyncio.run(outer_async()) == [2, 4]

    def test_handles_and_futures_are_waited_for_together(self, processes: Processes, queue: str) -> None:
        processes.worker("work.py", queue)
        import work

        handle = work.add.with_options(queue=queue).delay(1, 2)
        future = double.submit(1)
        done, not_done = wait([handle, future], timeout=PATIENCE)
        assert done == {handle, future} and not not_done
        assert {each.result() for each in as_completed([handle, future], timeout=PATIENCE)} == {3, 2}
        never = work.add.with_options(queue=f"{queue}-nobody").delay(1, 2)
        assert wait([never, future], timeout=0.05).not_done == {never}
        with pytest.raises(WaitTimeout):
            list(as_completed([never], timeout=0.05))

    def test_failures_that_nobody_looked_at_may_be_ignored(self) -> None:
        @flow(on_unawaited_failure="ignore")
        def outer() -> str:
            fails.submit()
            return "fine"

        @flow(on_unawaited_failure="ignore")
        async def outer_async() -> str:
            fails.submit()
            return "fine"

        assert outer() == asyncio.run(outer_async()) == "fine"
        with pytest.raises(InvalidArgument, match='on_unawaited_failure=.never.: it is "fail" or "ignore"'):
            flow(on_unawaited_failure="never")(ids.fn)


class TestContext:
    def test_tags_are_of_all_that_is_started_inside(self, queue: str) -> None:
        @task(tags=["own"])
        def inner() -> list[str]:
            run = current_run()
            assert run is not None
            return [*run.tags, *task_run.tags]

        @flow
        def outer() -> list[Any]:
            with tags("flow"):
                return [inner(), inner.submit().result()]

        with tags("a", "b") as outermost, tags("b", "c"):
            handle = double.with_options(queue=queue, tags=["own"]).delay(1)
            found = outer()
        assert outermost == ("a", "b")
        assert handle.run().tags == ["a", "b", "c", "own"]
        assert found == [["a", "b", "c", "flow", "own"] * 2] * 2
        assert double.with_options(queue=queue).delay(1).run().tags == []
        with pytest.raises(InvalidArgument, match='as tags."a", "b".'), tags(["a"]):  # type: ignore[arg-type]
            pass

    def test_runtime_tells_what_the_code_belongs_to(self) -> None:
        @task(run_name="inner {n}", tags=["t"], labels={"k": "v"})
        def inner(n: int) -> dict[str, Any]:
            run = current_run()
            assert run is not None
            assert task_run.id == run.run_id == run.id
            return {
                "task": [task_run.name, task_run.task_name, task_run.parameters, task_run.attempt, task_run.run_count],
                "more": [task_run.tags, task_run.labels, deployment.name],
                "flow": [flow_run.id, flow_run.name, flow_run.flow_name, flow_run.attempt, flow_run.parameters],
                "above": [task_run.parent_flow_run_id, task_run.root_flow_run_id, task_run.parent_run_id],
            }

        @task
        def between() -> Any:
            return inner(3)["flow"]

        @flow(run_name="outer")
        def outer(path: str) -> Any:
            assert task_run.id is None and flow_run.parent_flow_run_id is None
            assert between() == [flow_run.id, "outer", "outer", 1, {"path": path}]
            return flow_run.id, inner(3), inner.submit(3).result()

        flow_id, *found = outer("a.csv")
        for each in found:
            assert each == {
                "task": ["inner 3", "inner", {"n": 3}, 1, 1],
                "more": [["t"], {"k": "v"}, None],
                "flow": [flow_id, "outer", "outer", 1, {"path": "a.csv"}],
                "above": [flow_id, flow_id, flow_id],
            }
        assert (flow_run.id, flow_run.name, task_run.parameters, task_run.tags, deployment.id) == (None,) * 5


    def test_runtime_tells_the_deployment(self, processes: Processes, queue: str) -> None:
        name = work_authoring.deployment_of_flow.deploy(queue, queue=queue).name
        processes.worker("work_authoring.py", queue)
        assert run_deployment(name).result() == [name] * 4
        undeployed = work_authoring.deployment_of_flow.with_options(queue=queue).delay()
        assert undeployed.result(timeout=PATIENCE) == [None] * 4


class TestMistakes:
    def test_waiting_in_the_event_loop_for_what_it_is_to_do(self) -> None:
        async def code() -> list[str]:
            messages = []
            future = double_async.submit(1)
            dependent = double.submit(future)
            for ask in (future.result, future.wait, dependent.result, lambda: list(as_completed([future]))):
                with pytest.raises(WouldDeadlock) as refused:
                    ask()
                messages.append(str(refused.value))
            assert [await future, await dependent] == [2, 4]
            assert future.result() == 2, "it has ended"
            return messages

        outer = flow(name="outer")(code)
        # What is submitted is executed by the event loop of the package.
        first = outer.submit().result(PATIENCE)[0]
        assert first == (
            "the future of `double_async` would never end: this code waits for it in the event loop that is to execute it. Write "
            "`await future` (or `await future.result_async()`) instead of `future.result()`"
        )

        # In an event loop of the caller's own it ends.
        @flow
        async def of_its_own() -> int:
            return double_async.submit(2).result()

        assert asyncio.run(of_its_own()) == 4

    def test_a_sync_flow_in_async_code_is_executed_there(self) -> None:
        @flow
        def inner() -> list[int]:
            return [double(1), double.submit(2).result(), double_async.submit(3).result()]

        async def outer() -> list[int]:
            return inner()

        assert asyncio.run(outer()) == [2, 4, 6]

    def test_a_future_that_is_used_after_its_flow(self) -> None:
        release = threading.Event()
        futures: list[Future[Any]] = []

        @task
        def deaf() -> None:
            release.wait()

        @flow(timeout_seconds=0.3)
        def outer() -> None:
            futures.append(deaf.submit())
            while True:
                time.sleep(0.01)

        begun = threading.Thread(target=lambda: outer.submit().wait())
        begun.start()
        try:
            begun.join()
            with pytest.raises(RunCancelled) as refused:
                futures[0].result()
            assert "the future of `deaf` is used after the flow `outer` (run " in str(refused.value)
            with pytest.raises(RunCancelled):
                asyncio.run(futures[0].result_async())
        finally:
            release.set()

    def test_a_submit_after_its_flow(self) -> None:
        go, ended = threading.Event(), threading.Event()
        found: list[BaseException] = []

        def late(context: Any) -> None:
            go.wait()
            found.append(context.run(lambda: double.submit(1).result(raise_on_failure=False)))
            ended.set()

        @flow
        def outer() -> str:
            import contextvars

            threading.Thread(target=late, args=(contextvars.copy_context(),)).start()
            double.submit(0).result()
            run = current_run()
            assert run is not None
            return run.run_id

        flow_id = outer()
        go.set()
        assert ended.wait(PATIENCE)
        assert str(found[0]) == (
            f"`double` was not started: the flow `outer` (run {flow_id}) that submitted it has ended. Submit it, and ask for its "
            "result, in the code of that run, or use .delay(), whose runs go on without their parent when detached=True"
        )

    def test_a_future_does_not_travel(self) -> None:
        with pytest.raises(pickle.PicklingError, match="belongs to the process that submitted it.*get_run"):
            pickle.dumps(double.submit(1))

    def test_dependents_of_a_cancelled_run_say_which_one_it_was(self, queue: str) -> None:
        @flow
        def outer() -> str:
            handle = double.with_options(queue=queue).delay(1)
            dependent = double.submit(handle)
            handle.cancel("enough")
            with pytest.raises(UpstreamFailed) as refused:
                dependent.result()
            assert f"not executed: it needs the result of run {handle.id}, which was cancelled. " in str(refused.value)
            return dependent.id or ""

        run = get_run(outer()).run()
        assert (run.state[:2], run.failure and run.failure[0]) == (("FAILED", "UpstreamFailed"), "UpstreamFailed")
        assert run.state[2].endswith(" (double) was cancelled: enough")

    def test_errors_are_of_one_tree(self) -> None:
        assert issubclass(WouldDeadlock, TidegateError) and issubclass(tidegate.ParameterError, TidegateError)
