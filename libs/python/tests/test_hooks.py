"""Hooks, and conditions of retries."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Optional

import pytest

import work_authoring as work
from conftest import PATIENCE, Processes
from test_end_to_end import lines_of, until
from tidegate import _dual, _local_calls, hooks
from tidegate import InvalidArgument, RunCancelled, RunCrashed, RunFailed, TidegateError, flow, get_run, get_run_logger, task
from tidegate._connection import awaited, block, client
from tidegate._interrupt import Control

STATES = ["on_completion", "on_failure", "on_crashed", "on_cancellation", "on_running"]


@pytest.mark.parametrize("option", STATES)
def test_a_hook_with_other_parameters_is_refused_where_it_is_given(option: str) -> None:
    def note(run: Any, outcome: Any) -> None: ...

    with pytest.raises(InvalidArgument) as refused:
        flow(**{option: note})(lambda_named)
    assert str(refused.value).startswith(
        f"{option} of `lambda_named` cannot call its hook `note(run, outcome)`: a hook takes any of flow, task, run, state, "
        "result, exception, parameters by these names, or three positional arguments (flow_or_task, run, state); rename its "
        "parameters, such as `def note("
    )
    with pytest.raises(InvalidArgument, match=f"{option} of `lambda_named` is to be a function or a list of functions"):
        task(**{option: ["a name"]})(lambda_named)


def lambda_named() -> None:
    """Something to decorate."""


def test_forms_of_hooks_that_are_taken() -> None:
    class Callable_:
        def __call__(self, run: Any) -> None: ...

    def positional(the_flow: Any, flow_run: Any, state: Any) -> None: ...
    def anything(*arguments: Any) -> None: ...
    def by_name(state: Any, *, result: Any = None) -> None: ...
    def nothing() -> None: ...

    for hook in (Callable_(), positional, anything, by_name, nothing, print):
        flow(on_failure=[hook])(lambda_named)


@pytest.mark.usefixtures("server")
def test_a_hook_that_does_not_end_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOOK_SECONDS", "0.2")
    called: list[str] = []

    def endless() -> None:
        while True:
            len("")

    async def waits() -> None:
        await asyncio.Event().wait()

    def note(run: Any) -> None:
        called.append(run.id)

    @flow(on_running=[endless, note], on_completion=[endless, waits, note])
    def nightly() -> None: ...

    @flow(on_completion=[endless, waits, note])
    async def nightly_async() -> None: ...

    nightly()
    asyncio.run(nightly_async())
    assert len(called) == 3
    for run_id, n in ((called[0], 3), (called[2], 2)):
        said = "it did not end within 0.2 s and was interrupted; if it needs longer, say so by TIDEGATE_HOOK_SECONDS"
        until(lambda: len([line for line in get_run(run_id).logs() if said in line]) == n)


@pytest.mark.usefixtures("server")
def test_a_run_is_out_of_time_also_while_it_calls_a_hook() -> None:
    def endless() -> None:
        while True:
            len("")

    @flow(timeout_seconds=0.2, on_running=endless)
    def nightly() -> None: ...

    with pytest.raises(RunFailed, match="did not end within 0.2 s"):
        nightly()


def test_the_time_of_hooks_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_HOOK_SECONDS", "long")
    with pytest.raises(InvalidArgument, match="TIDEGATE_HOOK_SECONDS=long is no number of seconds: say how long a hook may take"):
        flow(on_failure=print)(lambda_named)


@pytest.mark.usefixtures("server")
def test_a_process_whose_hooks_hear_no_interrupt_is_ended(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_HOOK_SECONDS", "0.2")
    script, queue = tmp_path / "deaf_hooks.py", f"q-{uuid.uuid4().hex[:12]}"
    script.write_text(
        "import time\nfrom tidegate import flow, serve\n"
        "@flow(on_completion=lambda: time.sleep(10_000))\ndef nightly() -> int:\n    return 7\n"
        f"if __name__ == '__main__':\n    serve(nightly, queues=['{queue}'])\n"
    )
    processes.worker(str(script))

    @flow
    def nightly() -> None: ...

    handle = nightly.with_options(queue=queue).delay()
    assert handle.result(timeout=PATIENCE) == 7
    said = "the hooks of the run did not end when they were to, so their process was ended"
    (line,) = until(lambda: [line for line in handle.logs() if said in line])
    assert "deaf_hooks.py" in line, "where they were"


def test_a_condition_with_other_parameters_is_refused_where_it_is_given() -> None:
    with pytest.raises(InvalidArgument, match="retry_condition_fn of `lambda_named`.*`two.a, b.` takes neither one nor three"):

        def two(a: Any, b: Any) -> bool:
            return True

        task(retries=1, retry_condition_fn=two)(lambda_named)


def test_delays_may_be_made_by_a_function() -> None:
    def doubled(retries: int) -> list[int]:
        return [2**n for n in range(retries)]

    made = task(retries=3, retry_delay_seconds=doubled)(lambda_named)
    assert made.options.delays() == [1.0, 2.0, 4.0]
    assert made.with_options(retries=1).options.delays() == [1.0]
    with pytest.raises(InvalidArgument, match="retry_delay_seconds is 'soon': give seconds, a list of them, or a function"):
        task(retries=3, retry_delay_seconds=lambda retries: "soon")(lambda_named)


@pytest.mark.parametrize(("state", "expected"), [("CANCELLED", "CANCELLED"), ("RUNNING", None)])
def test_a_cancel_that_overtook_the_start_is_one(
    monkeypatch: pytest.MonkeyPatch, state: str, expected: Optional[str]
) -> None:
    """The server has ended the run before it heard of the start, so the report of its end is of no run of this worker."""

    class Done:
        def __init__(self, value: Any) -> None:
            self.value = value

        def wait(self, seconds: float) -> bool:
            return True

        def result(self) -> Any:
            return self.value

    run = SimpleNamespace(state=(state, state.title(), ""))
    monkeypatch.setattr(hooks, "client", lambda: SimpleNamespace(peek_run=lambda run_id: Done(run)))
    control = Control()
    heard: Any = Done(None)
    assert _dual.run(hooks.state_after(heard, control, "id")) is None, "it was not stopped"
    control.stop("lost", "", 0.0)
    found = _dual.run(hooks.state_after(heard, control, "id"))
    assert (found and found.type) == expected


@pytest.mark.usefixtures("server")
class TestOfLocalRuns:
    def test_hooks_get_what_they_ask_for(self) -> None:
        seen: list[Any] = []

        def completed(run: Any, state: Any, result: Any, parameters: Any) -> None:
            # What the server says of it by now.
            seen.append((state.type, result, parameters, get_run(run.id).state.type))

        async def failed(task: Any, run: Any, exception: Any) -> None:
            await asyncio.sleep(0)
            seen.append((task.name, str(exception), get_run(run.id).state.type))

        def begun(a: Any, b: Any, c: Any) -> None:
            seen.append((a.name, b.attempt, c.type))

        @task(on_completion=completed, on_failure=[failed], on_running=begun)
        def divide(a: int, b: int) -> float:
            return a / b

        @flow(on_completion=completed)
        def outer() -> str:
            assert divide("6", 2) == 3.0
            with pytest.raises(ZeroDivisionError):
                divide.submit(1, 0).result()
            return "done"

        assert outer() == "done"
        assert seen == [
            ("divide", 1, "RUNNING"),
            ("COMPLETED", 3.0, {"a": 6, "b": 2}, "COMPLETED"),
            ("divide", 1, "RUNNING"),
            ("divide", "division by zero", "FAILED"),
            ("COMPLETED", "done", {}, "COMPLETED"),
        ]

    def test_hooks_of_async_runs(self) -> None:
        seen: list[str] = []

        async def awaited(state: Any) -> None:
            await asyncio.sleep(0)
            seen.append(state.type)

        def plain(state: Any) -> None:
            seen.append(state.type)

        @flow(on_running=plain, on_completion=[awaited, plain])
        async def outer() -> None: ...

        asyncio.run(outer())
        assert seen == ["RUNNING", "COMPLETED", "COMPLETED"]

    def test_a_call_that_is_given_up_has_failed(self) -> None:
        seen: list[Any] = []

        async def ended(run: Any, state: Any) -> None:
            await asyncio.sleep(0)
            seen.append((state.type, get_run(run.id).state.type))

        async def gives_up() -> None:
            begun = asyncio.Event()

            @task(on_failure=ended)
            async def endless() -> None:
                begun.set()
                await asyncio.Event().wait()

            call = asyncio.ensure_future(endless())
            await begun.wait()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(call, 0.01)

        asyncio.run(gives_up())
        assert seen == [("FAILED", "FAILED")]

    def test_only_the_last_failure_is_one(self) -> None:
        seen: list[Any] = []

        def begun(run: Any) -> None:
            seen.append(run.attempt)

        @task(retries=2, on_failure=lambda run: seen.append(("failed", run.attempt)), on_running=begun)
        def fails() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            fails()
        assert seen == [1, 2, 3, ("failed", 3)]

    def test_an_error_in_a_hook_is_logged_to_the_run_and_changes_nothing(self) -> None:
        ids: list[str] = []

        def wrong(run: Any) -> None:
            ids.append(run.id)
            get_run_logger().info("here")
            raise KeyError("in the hook")

        def right(run: Any) -> None:
            ids.append(run.id)

        @flow(on_completion=[wrong, right])
        def outer() -> int:
            return 1

        assert outer() == 1 and len(ids) == 2
        assert block(client().flush_logs(20.0))
        lines = get_run(ids[0]).logs()
        assert lines[0] == "here"
        assert lines[1].startswith("the hook `wrong` for COMPLETED raised") and "KeyError: 'in the hook'" in lines[1]

    def test_a_cancel_and_a_timeout_have_their_hooks(self) -> None:
        seen: list[Any] = []
        begun = threading.Event()
        ids: list[str] = []

        def note(run: Any) -> None:
            ids.append(run.id)
            begun.set()

        def ended(state: Any, exception: Any) -> None:
            seen.append((state.type, state.name, type(exception).__name__))

        @task(on_running=note, on_cancellation=ended, on_failure=ended)
        def endless() -> None:
            while True:
                pass

        def cancel() -> None:
            begun.wait(PATIENCE)
            get_run(ids[0]).cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(RunCancelled):
            endless()
        canceller.join()
        with pytest.raises(RunFailed):
            endless.with_options(timeout_seconds=0.2)()
        assert seen == [("CANCELLED", "Cancelled", "RunCancelled"), ("FAILED", "TimedOut", "RunFailed")]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_cancel_between_two_attempts_is_heard(self, is_async: bool) -> None:
        hooked: list[Any] = []

        def notes(run: Any, state: Any, exception: Any) -> None:
            hooked.append((run.id, state, type(exception)))

        is_hooked = task(retries=1, retry_delay_seconds=3_600, on_cancellation=notes, on_failure=notes, on_crashed=notes)

        @is_hooked
        def fails_first() -> None:
            raise ValueError("not yet")

        @is_hooked
        async def fails_first_async() -> None:
            raise ValueError("not yet")

        @flow
        def outer() -> None:
            future = (fails_first_async if is_async else fails_first).submit()
            until(lambda: future.state[:2] == ("SCHEDULED", "AwaitingRetry"))
            handle = get_run(str(future.id))
            handle.cancel("enough")
            with pytest.raises(RunCancelled):
                future.result(timeout=PATIENCE)
            assert future.state.type == handle.state.type == "CANCELLED"
            assert hooked == [(handle.id, handle.state, RunCancelled)]
            assert handle.run().attempt == 1

        outer()
        assert len(hooked) == 1

    def test_a_call_that_is_given_up_between_two_attempts_has_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []

        @task(retries=2, retry_delay_seconds=3_600, on_failure=lambda run: seen.append(get_run(run.id).state.type))
        async def fails_first() -> None:
            raise ValueError("not yet")

        async def gives_up() -> None:
            is_delayed = asyncio.Event()

            class Noted(_local_calls._Delay):
                def __init__(self, seconds: float, control: Control) -> None:
                    super().__init__(seconds, control)
                    is_delayed.set()

            monkeypatch.setattr(_local_calls, "_Delay", Noted)
            call = asyncio.ensure_future(fails_first())
            await asyncio.wait_for(is_delayed.wait(), PATIENCE)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

        asyncio.run(gives_up())
        assert seen == ["FAILED"]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_timeout_does_not_end_the_delay_after_it(self, is_async: bool) -> None:
        begun: list[int] = []
        is_limited = task(
            timeout_seconds=1, retries=1, retry_delay_seconds=0.3, on_running=lambda run: begun.append(run.attempt)
        )

        @is_limited
        def endless_at_first() -> str:
            while len(begun) < 2:
                pass
            return "done"

        @is_limited
        async def endless_at_first_async() -> str:
            while len(begun) < 2:
                await asyncio.sleep(0)
            return "done"

        value = asyncio.run(endless_at_first_async()) if is_async else endless_at_first()
        assert (value, begun) == ("done", [1, 2])

    @pytest.mark.parametrize(("said", "hooked"), [("its end", 1), ("retry", 0), ("refused", 0)])
    @pytest.mark.parametrize("is_async", [False, True])
    def test_what_has_stopped_a_caller_comes_through_whatever_is_said_of_its_call(
        self, monkeypatch: pytest.MonkeyPatch, is_async: bool, said: str, hooked: int
    ) -> None:
        """Where the server has ended an attempt itself, as it heard nothing for too long, a late report leads to its retry, or
        is refused. The server is made to say so here."""
        end = "FAILED" if is_async else "CRASHED"
        seen: list[str] = []
        is_hooked = task(on_failure=lambda state: seen.append(state.type), on_crashed=lambda state: seen.append(state.type))

        def instead(answer: Any) -> Any:
            if said == "its end" or not isinstance(answer, tuple) or answer[0] != "ended" or answer[1][0] != end:
                return answer
            if said == "refused":
                raise TidegateError("STALE_EPOCH")
            return ("retry", 3_600.0, answer[2])

        async def awaited_instead(op: Any) -> Any:
            return instead(await awaited(op))

        monkeypatch.setattr(_local_calls, "block", lambda op: instead(block(op)))
        monkeypatch.setattr(_local_calls, "awaited", awaited_instead)

        @is_hooked
        def endless() -> None:
            while True:
                pass

        @flow(timeout_seconds=2)
        def outer() -> None:
            endless()

        async def gives_up() -> None:
            begun = asyncio.Event()

            @is_hooked
            async def endless_async() -> None:
                begun.set()
                await asyncio.Event().wait()

            call = asyncio.ensure_future(endless_async())
            await begun.wait()
            await asyncio.wait_for(call, 0.01)

        if is_async:
            with pytest.raises(asyncio.TimeoutError):
                asyncio.run(gives_up())
        else:
            with pytest.raises(RunFailed, match="did not end within 2 s"):
                outer()
        assert seen == [end] * hooked

    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_condition_decides_on_retries(self, is_async: bool) -> None:
        def check(condition: Callable[..., Any], options: dict[str, Any]) -> int:
            attempts: list[int] = []

            @task(retries=2, retry_condition_fn=condition, **options)
            def fails() -> None:
                attempts.append(1)
                raise ValueError("no")

            @task(retries=2, retry_condition_fn=condition, **options)
            async def fails_async() -> None:
                attempts.append(1)
                raise ValueError("no")

            with pytest.raises(ValueError, match="no"):
                asyncio.run(fails_async()) if is_async else fails()
            return len(attempts)

        async def never(error: Any) -> bool:
            return False

        def raises(error: Any) -> bool:
            raise KeyError("in the condition")

        def by_state(the_task: Any, run: Any, state: Any) -> bool:
            return bool(run.attempt == 1 and state.is_failed() and "ValueError: no" in state.message)

        assert check(lambda error: isinstance(error, ValueError), {}) == 3
        assert check(lambda error: isinstance(error, KeyError), {}) == 1
        assert check(never, {}) == 1
        assert check(raises, {}) == 1
        assert check(by_state, {}) == 2


@pytest.mark.usefixtures("server")
class TestOfQueuedRuns:
    @pytest.mark.parametrize("name", ["hooked_flow", "hooked_task", "hooked_async_task"])
    def test_hooks_are_called_in_the_process_of_the_run(self, processes: Processes, tmp_path: Path, name: str) -> None:
        queue, path = f"q-{uuid.uuid4().hex[:12]}", tmp_path / "notes"
        processes.worker("work_authoring.py", queue)
        handle = getattr(work, name).with_options(queue=queue).delay(str(path), "fine")
        executed_by = handle.result(timeout=PATIENCE)
        until(lambda: len(lines_of(path)) == 2)
        begun, completed = map(json.loads, lines_of(path))
        assert (begun["state"], begun["pid"]) == ("RUNNING", executed_by)
        assert completed == {
            "state": "COMPLETED", "pid": executed_by, "result": executed_by, "exception": None, "run": handle.id,
            "parameters": {"path": str(path), "how": "fine"},
        }
        until(lambda: handle.logs() == ["noted RUNNING", "noted COMPLETED"])
        failing = getattr(work, name).with_options(queue=queue).delay(str(path), "raise")
        with pytest.raises(RunFailed):
            failing.result(timeout=PATIENCE)
        assert failing.run().attempt == 2, "its condition allows one retry"
        until(lambda: len(lines_of(path)) == 5)
        assert json.loads(lines_of(path)[-1])["exception"] == "ValueError: raise"

    def test_a_worker_calls_the_hooks_of_a_process_that_has_died(self, processes: Processes, tmp_path: Path) -> None:
        queue, path = f"q-{uuid.uuid4().hex[:12]}", tmp_path / "notes"
        worker = processes.worker("work_authoring.py", queue)
        handle = work.hooked_flow.with_options(queue=queue, max_crashes=0).delay(str(path), "die")
        with pytest.raises(RunCrashed, match="SIGKILL"):
            handle.result(timeout=PATIENCE)
        until(lambda: len(lines_of(path)) == 2)
        crashed = json.loads(lines_of(path)[1])
        assert (crashed["state"], crashed["pid"], crashed["run"]) == ("CRASHED", worker.pid, handle.id)
        assert crashed["parameters"] == {"path": str(path), "how": "die"} and "SIGKILL" in crashed["exception"]

    @pytest.mark.parametrize("name", ["hooked_flow", "hooked_task", "hooked_async_task"])
    def test_a_cancelled_run_has_its_hook(self, processes: Processes, tmp_path: Path, name: str) -> None:
        queue, path = f"q-{uuid.uuid4().hex[:12]}", tmp_path / "notes"
        processes.worker("work_authoring.py", queue)
        handle = getattr(work, name).with_options(queue=queue).delay(str(path), "hang")
        until(lambda: lines_of(path))
        handle.cancel()
        until(lambda: len(lines_of(path)) == 2)
        assert json.loads(lines_of(path)[1])["state"] == "CANCELLED"

    def test_a_worker_calls_the_hook_of_a_cancelled_process_that_heard_nothing(
        self, processes: Processes, tmp_path: Path
    ) -> None:
        queue, path = f"q-{uuid.uuid4().hex[:12]}", tmp_path / "notes"
        worker = processes.worker("work_authoring.py", queue)
        handle = work.hooked_flow.with_options(queue=queue, cancel_grace_seconds=1).delay(str(path), "deaf")
        executed_by = json.loads(until(lambda: lines_of(path))[0])["pid"]
        handle.cancel("enough")
        with pytest.raises(RunCancelled):
            handle.result(timeout=PATIENCE)
        until(lambda: len(lines_of(path)) == 2)
        cancelled = json.loads(lines_of(path)[1])
        assert (cancelled["state"], cancelled["run"]) == ("CANCELLED", handle.id)
        assert cancelled["pid"] == worker.pid != executed_by, "its own process was killed"
