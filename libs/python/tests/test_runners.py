"""Where the submitted children of a flow are executed."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import process_work as work
from conftest import until
from tidegate import InvalidArgument, PayloadError, RunCrashed, RunFailed, TidegateError, current_run, find_runs, flow, get_run
from tidegate import pause, task
from tidegate.runners import AsyncTaskRunner, ProcessPoolTaskRunner, ThreadPoolTaskRunner
from test_processes import is_alive, pids_of

pytestmark = pytest.mark.usefixtures("server")

in_processes = flow(task_runner=ProcessPoolTaskRunner(max_workers=2))


@task
def pid(_: int = 0) -> int:
    return os.getpid()


@task
async def pid_async() -> int:
    await asyncio.sleep(0)
    return os.getpid()


@flow
def subflow(n: int) -> list[int]:
    return [os.getpid(), pid.submit(n).result(), pid(n)]


@task
def double(n: int) -> int:
    return 2 * n


@task
def dies(how: str) -> None:
    work.die(how)


class Odd(Exception):
    """It can be written as a pickle and not read."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@task
def fails(odd: bool) -> None:
    raise Odd(1, 2) if odd else LookupError("nothing there")


@task(retries=1)
def fails_at_first(path: str) -> int:
    work.note(path, os.getpid())
    if len(Path(path).read_text().splitlines()) == 1:
        raise ValueError("not yet")
    return len(set(Path(path).read_text().splitlines()))


heard: list[Any] = []


def hear(run: Any, result: Any, parameters: Any) -> None:
    heard.append((os.getpid(), run.name, result, parameters))


@task(on_completion=hear)
def hooked(n: int) -> int:
    return 2 * n


@task
def gives_a_lock() -> Any:
    return threading.Lock()


@task
def takes(it: Any) -> None:
    """Takes anything."""


@task(timeout_seconds=2)
def computes_too_long(path: str) -> None:
    work.note(path, os.getpid(), work.start_grandchild())
    work.compute_in_c()


@task
def computes(path: str) -> None:
    work.note(path, os.getpid(), work.start_grandchild())
    work.compute_in_c()


@task
def asks() -> Any:
    return [os.getpid(), pause("how many")]


@pytest.mark.every_python
def test_a_process_pool_executes_what_is_submitted() -> None:
    @in_processes
    def outer() -> None:
        here = os.getpid()
        assert here not in [future.result() for future in pid.map(range(4))]
        assert pid_async.submit().result() != here
        assert pid.with_options(execution="thread").submit().result() == here
        assert pid() == here, "a call is executed where it is made"
        assert double.submit(double.submit(double.submit(1))).result() == 8
        there, child, grandchild = subflow.submit(1).result()
        assert there == child == grandchild != here

    outer()


def test_a_pool_bounds_what_runs_at_once() -> None:
    @in_processes
    def outer() -> int:
        return len({future.result() for future in pid.map(range(12))})

    assert outer() <= 2


def test_execution_process_needs_no_runner() -> None:
    elsewhere, elsewhere_async = pid.with_options(execution="process"), pid_async.with_options(execution="process")
    assert elsewhere() != os.getpid() != elsewhere.submit().result()

    async def both() -> bool:
        return await elsewhere_async() != os.getpid() != await elsewhere_async.submit()  # type: ignore[no-any-return]

    assert asyncio.run(both())


@pytest.mark.parametrize(
    ("how", "cause"), [("segfault", "killed by SIGSEGV"), ("exit", "exit code 3"), ("SIGKILL", "SIGKILL")]
)
def test_a_process_that_dies_is_the_end_of_its_run_alone(how: str, cause: str) -> None:
    runs = []

    @in_processes
    def outer() -> int:
        future = dies.submit(how)
        with pytest.raises(RunCrashed, match=cause) as crashed:
            future.result()
        runs.append(crashed.value.run_id)
        assert future.state.is_crashed()
        return double.submit(21).result()

    assert outer() == 42
    run = get_run(runs[0])
    assert run.state.is_crashed() and cause in run.state.message
    until(lambda: any(cause in line for line in run.logs()))


def test_a_crash_that_nobody_looked_at_fails_the_flow() -> None:
    runs: list[Any] = []

    @in_processes
    def outer() -> str:
        run = current_run()
        assert run is not None
        runs.append(run.run_id)
        dies.submit("exit")
        return "fine"

    with pytest.raises(TidegateError, match="1 submitted run failed and nobody asked for its result: .*exit code 3"):
        outer()
    assert get_run(runs[0]).state.is_failed()
    (child,) = find_runs(parent=runs[0])
    assert child.state.is_crashed()


@pytest.mark.every_python
def test_an_exception_comes_back_as_it_is() -> None:
    @in_processes
    def outer() -> None:
        with pytest.raises(LookupError, match="nothing there") as failed:
            fails.submit(False).result()
        assert "in fails" in str(failed.value.__cause__)
        with pytest.raises(PayloadError, match="`fails` raised Odd: 1 and 2"):
            fails.submit(True).result()

    outer()


def test_a_retry_is_made_in_a_process_too(tmp_path: Path) -> None:
    @in_processes
    def outer() -> int:
        return fails_at_first.submit(str(tmp_path / "pids")).result()

    assert outer() == 1, "the process is used again"


def test_hooks_are_called_where_the_run_was_submitted() -> None:
    @in_processes
    def outer() -> int:
        return hooked.submit(4).result()

    assert outer() == 8
    assert heard == [(os.getpid(), "hooked", 8, {"n": 4})]


def test_what_cannot_go_to_a_process_is_named() -> None:
    @task
    def inner() -> None:
        """No other process finds it."""

    @in_processes
    def outer() -> None:
        error = "another process cannot find the task `inner`: it is defined inside .*; define it at the top level"
        with pytest.raises(PayloadError, match=error):
            inner.submit().result()
        error = "the argument `it` of `takes` is a lock that cannot go to another process.*; pass what it is made from"
        with pytest.raises(PayloadError, match=error):
            takes.submit(threading.Lock()).result()
        with pytest.raises(PayloadError, match="the result of `gives_a_lock` is a lock that cannot come back.*; return"):
            gives_a_lock.submit().result()

    outer()


def test_what_is_out_of_time_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "pids"

    @in_processes
    def outer() -> None:
        with pytest.raises(RunFailed, match="did not end within 2 s"):
            computes_too_long.submit(str(path)).result()

    outer()
    until(lambda: not any(map(is_alive, pids_of(path))))


def test_nothing_survives_a_flow_that_is_out_of_time(tmp_path: Path) -> None:
    path = tmp_path / "pids"

    @flow(timeout_seconds=2)
    def outer() -> None:
        computes.with_options(execution="process", cancel_grace_seconds=1)(str(path))

    pid.with_options(execution="process")()  # so that a process is there: one may take longer to start than there is
    with pytest.raises(RunFailed, match="did not end within 2 s"):
        outer()
    until(lambda: not any(map(is_alive, pids_of(path))))


def test_a_run_in_a_process_waits_until_it_is_resumed() -> None:
    @in_processes
    def outer() -> Any:
        future = asks.submit()
        until(lambda: future.state.type == "RUNNING")
        until(lambda: get_run(str(future.id)).state.type == "PAUSED")
        get_run(str(future.id)).resume(7)
        return future.result()

    there, answer = outer()
    assert there != os.getpid() and answer == 7


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner(max_workers=2), AsyncTaskRunner(max_concurrency=2)])
def test_runners_bound_what_runs_at_once(runner: Any) -> None:
    now, most = 0, 0
    lock = threading.Lock()

    def begin() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)

    def end() -> None:
        nonlocal now
        with lock:
            now -= 1

    @task
    def one(_: int) -> None:
        begin()
        time.sleep(0.05)
        end()

    @task
    async def one_async(_: int) -> None:
        begin()
        await asyncio.sleep(0.05)
        end()

    bounded = one if isinstance(runner, ThreadPoolTaskRunner) else one_async

    @flow(task_runner=runner)
    def outer() -> None:
        bounded.map(range(6))

    outer()
    assert most == 2


def test_runners_are_checked() -> None:
    assert flow(task_runner=ProcessPoolTaskRunner)(pid.fn).options.task_runner == ProcessPoolTaskRunner(os.cpu_count() or 1)
    with pytest.raises(InvalidArgument, match="task_runner=7: it is a ThreadPoolTaskRunner, ProcessPoolTaskRunner or"):
        flow(task_runner=7)
    with pytest.raises(InvalidArgument, match=r"ThreadPoolTaskRunner\(max_workers=0\): it is a whole number from 1"):
        ThreadPoolTaskRunner(max_workers=0)
    with pytest.raises(InvalidArgument, match="execution='container': it is .process. or .thread."):
        task(execution="container")
