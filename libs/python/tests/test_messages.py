"""The most likely mistakes, and what is said to each: word for word, as people read it.

A message names what is wrong, its value and its cause, and how to mend it. Three more are elsewhere, word for word as well: an
argument that cannot be pickled (``test_results.py``), a missing server (``test_missing_server.py``), and a result that is too
large (``test_limits.py``).
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from conftest import PATIENCE
from tidegate import (
    Future,
    InvalidArgument,
    NotFound,
    ParameterError,
    RunCancelled,
    UpstreamFailed,
    WouldDeadlock,
    as_completed,
    current_run,
    flow,
    gather,
    task,
)
from tidegate.deployments import run_deployment


@task
def double(n: int) -> int:
    return 2 * n


@task
async def fetch(url: str) -> str:
    return url


def test_a_wrong_hook_signature() -> None:
    def notify(flow_run: Any, outcome: Any) -> None: ...

    with pytest.raises(InvalidArgument) as told:

        @flow(on_failure=[notify])
        def nightly() -> None: ...

    assert str(told.value) == (
        "on_failure of `nightly` cannot call its hook `notify(flow_run, outcome)`: a hook takes any of flow, task, run, state, "
        "result, exception, parameters by these names, or three positional arguments (flow_or_task, run, state); rename its "
        "parameters, such as `def notify(run, exception)`"
    )


def test_a_bad_parameter_type() -> None:
    with pytest.raises(ParameterError) as told:
        double.delay("seven")  # type: ignore[call-overload]
    assert str(told.value) == (
        "`double` cannot be called so: parameter `n` is 'seven', a str, but has to be `int` (input should be a valid integer, "
        "unable to parse string as an integer). Pass what the hints say, change the hints, or decorate it with "
        "validate_parameters=False to take anything"
    )


@pytest.mark.every_python
@pytest.mark.usefixtures("server")
def test_a_nested_event_loop() -> None:
    @flow
    async def crawl() -> str:
        future = fetch.submit("a")
        with pytest.raises(WouldDeadlock) as told:
            future.result()
        await future
        return str(told.value)

    assert crawl.submit().result(timeout=PATIENCE) == (
        "the future of `fetch` would never end: this code waits for it in the event loop that is to execute it. Write `await "
        "future` (or `await future.result_async()`) instead of `future.result()`"
    )


@pytest.mark.usefixtures("server")
def test_runs_that_are_waited_for_in_an_event_loop() -> None:
    nobody = f"q-{uuid.uuid4().hex[:12]}"

    @flow
    async def crawl() -> list[str]:
        handles = [double.with_options(queue=nobody).delay(n) for n in range(2)]
        told = [handles[0].id]
        for wait in (handles[0].result, lambda: gather(handles), lambda: list(as_completed(handles))):
            with pytest.raises(WouldDeadlock) as refused:
                wait()
            told.append(str(refused.value))
        for handle in handles:
            await handle.cancel_async()
        await asyncio.gather(*handles, return_exceptions=True)
        assert [type(end) for end in gather(handles, raise_on_failure=False)] == [RunCancelled] * 2, "they have ended"
        return told

    first_id, *told = crawl.submit().result(timeout=PATIENCE)
    held_up = "and hold up the event loop in which other async flows and tasks of this process are executed: write"
    assert told == [
        f"this code would wait for run {first_id} {held_up} `await handle` (or `await handle.result_async()`) instead of "
        "`handle.result()`",
        f"this code would wait for 2 runs {held_up} `await asyncio.gather(*handles)` instead of `gather(handles)`",
        f"this code would wait for 2 runs {held_up} `for each in asyncio.as_completed(handles): await each` instead of "
        "`as_completed(handles)`",
    ]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("command", [["served.py"], ["-m", "tidegate", "serve", "served:nightly"]])
def test_a_task_that_is_called_at_import(tmp_path: Path, command: list[str]) -> None:
    script = tmp_path / "served.py"
    script.write_text(
        "from tidegate import flow, serve\n@flow\ndef nightly(n: int) -> int:\n    return n\nnightly(1)\n"
        "serve(nightly)\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 1
    assert (
        "`nightly` is called while a worker imports the module that it serves, so every process of the worker would call it: "
        'put the call below `if __name__ == "__main__":`, or into a flow or task'
    ) in ended.stderr


@pytest.mark.usefixtures("server")
def test_a_future_that_is_used_after_the_flow() -> None:
    hears = threading.Event()
    kept: list[Any] = []

    @task
    def deaf() -> None:
        hears.wait()

    @flow(timeout_seconds=0.3)
    def nightly() -> None:
        run = current_run()
        assert run is not None
        kept.extend([deaf.submit(), run.run_id])
        while True:
            time.sleep(0.01)

    outer: Future[None] = nightly.submit()
    try:
        assert outer.wait(PATIENCE)
        future, flow_id = kept
        with pytest.raises(RunCancelled) as told:
            future.result()
        assert str(told.value) == (
            f"the future of `deaf` is used after the flow `nightly` (run {flow_id}) that submitted it was stopped, and it had not "
            "ended then: nobody will say how it ends. Ask for its result in the code of that run, or use .delay(), whose handles "
            "are valid in any process"
        )
        with pytest.raises(RunCancelled, match="is used after the flow `nightly`"):
            asyncio.run(future.result_async())
    finally:
        hears.set()


@pytest.mark.usefixtures("server")
def test_a_cancelled_upstream() -> None:
    queue = f"q-{uuid.uuid4().hex[:12]}"

    @flow
    def nightly() -> tuple[str, str]:
        upstream = double.with_options(queue=queue).delay(1)
        dependent = double.submit(upstream)
        upstream.cancel("not needed")
        with pytest.raises(UpstreamFailed) as told:
            dependent.result()
        return upstream.id, told.value.error_message

    upstream_id, message = nightly()
    assert message == (
        f"not executed: it needs the result of run {upstream_id}, which was cancelled. Call it again once that run has one "
        f"(`tidegate run explain {upstream_id}` says why it has none), or pass something else. The cause: run {upstream_id} "
        "(double) was cancelled: not needed"
    )


def test_an_unknown_deployment(server: str) -> None:
    @flow
    def messages_etl() -> None: ...

    messages_etl.deploy("nightly")
    with pytest.raises(NotFound) as told:
        run_deployment("messages_etl/nightli", timeout=0)
    assert str(told.value) == (
        "there is no deployment `messages_etl/nightli` in this namespace: did you mean `messages_etl/nightly`?"
    )
    with pytest.raises(InvalidArgument) as told_of_a_name:
        run_deployment("nightly", timeout=0)
    assert str(told_of_a_name.value) == (
        "'nightly' is no deployment: its name has the form `flow/deployment`, such as \"etl/nightly\""
    )
