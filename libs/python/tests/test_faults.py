"""Whatever is wrong around the code of a run is the end of that run, with its cause, and of nothing else."""

from __future__ import annotations

import os
import resource
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest

import faulty_work as work
from conftest import PATIENCE, Processes, until
from test_processes import is_alive, lines_of
from tidegate import InvalidArgument, RunCrashed, RunFailed, serve

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def queue() -> str:
    """A queue of this test alone."""
    return f"q-{uuid.uuid4().hex[:12]}"


def failure_of(function: Any, queue: str, *arguments: Any) -> RunFailed:
    handle = function.with_options(queue=queue, validate_parameters=False).delay(*arguments)
    with pytest.raises(RunFailed) as failed:
        handle.result(timeout=PATIENCE)
    return failed.value


def test_a_check_of_arguments_that_raises_is_a_failure(processes: Processes, queue: str) -> None:
    processes.worker("faulty_work.py", queue)
    for function in (work.checks, work.checks_async, work.checks_in_process):
        failure = failure_of(function, queue, {"n": 1})
        assert f"the arguments of `{function.name}` cannot be checked: KeyError: 'no such price list'" in str(failure)
        assert failure.error_type == "ParameterError"


def test_an_exception_that_cannot_tell_its_text_is_a_failure(processes: Processes, queue: str) -> None:
    processes.worker("faulty_work.py", queue)
    for function in (work.raises_mute, work.raises_mute_async, work.raises_mute_in_process):
        failure = failure_of(function, queue)
        assert "(its text cannot be had: AttributeError in its __str__)" in str(failure)


def test_code_that_raises_a_cancellation_itself_has_failed(processes: Processes, queue: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    worker = processes.start("faulty_work.py", queue)
    assert "CancelledError" in str(failure_of(work.raises_cancelled, queue, str(path)))
    until(lambda: lines_of(path) == [["failed"]])
    worker.send_signal(signal.SIGTERM)
    assert "crashed" not in worker.communicate(timeout=PATIENCE)[1]


def test_a_fault_of_the_worker_is_a_crash(processes: Processes, queue: str) -> None:
    worker = processes.worker("faulty_work.py", queue, "broken")
    for function in (work.works, work.works_async, work.is_fresh):
        handle = function.with_options(queue=queue, max_crashes=0).delay()
        with pytest.raises(RunCrashed, match="the worker failed at executing it: LookupError: a fault of the worker"):
            handle.result(timeout=PATIENCE)
    until(lambda: len(spares_of(worker.pid)) == 2)  # and none is left behind


def spares_of(pid: int) -> list[int]:
    """The processes in which `pid` executes runs."""
    children = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (thread / "children").read_text().split()]
    return [pid for pid in children if is_alive(pid) and b"_process.child" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_process_that_died_before_it_had_a_run_costs_none(processes: Processes, queue: str) -> None:
    worker = processes.worker("faulty_work.py", queue)
    spares = until(lambda: len(found := spares_of(worker.pid)) == 2 and found)
    for pid in spares:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(is_alive(pid) for pid in spares))  # a signal takes its time on a busy machine
    handle = work.is_fresh.with_options(queue=queue).delay()
    assert handle.result(timeout=PATIENCE) not in spares
    assert handle.run().crashes == 0


def test_a_machine_that_gives_no_process_is_named(processes: Processes, queue: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limits[0]), limits[1]))
    try:
        processes.worker("faulty_work.py", queue)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    def result_of(function: Any) -> Any:
        return function.with_options(queue=queue).delay().result(timeout=PATIENCE)

    result_of(work.opens_files)
    spares = {result_of(work.is_fresh) for _ in range(2)}
    with pytest.raises(RunCrashed) as crashed:
        result_of(work.is_fresh)
    said = str(crashed.value)
    assert "the system gives no process for the run ([Errno 24] Too many open files" in said
    assert "): it has as many files open as it may: execute fewer at once, or raise its limit (ulimit -n)" in said
    result_of(work.closes_files)
    assert result_of(work.is_fresh) not in spares


def test_a_run_that_is_cancelled_before_it_begins_executes_nothing(
    processes: Processes, queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, path, passed = tmp_path / "gate", tmp_path / "notes", tmp_path / "passed"
    monkeypatch.setenv("GATE", str(gate))
    monkeypatch.setenv("PASSED", str(passed))
    worker = processes.worker("faulty_work.py", queue)
    until(lambda: passed.exists() and len(passed.read_text().split()) == 2)
    gate.touch()
    for _ in range(2):
        work.is_fresh.with_options(queue=queue).delay().result(timeout=PATIENCE)
    handle = work.notes.with_options(queue=queue).delay(str(path))
    until(lambda: handle.state.type == "PENDING")
    handle.cancel("a typo")
    handle.wait(timeout=PATIENCE)
    gate.unlink()
    work.is_fresh.with_options(queue=queue).delay().result(timeout=PATIENCE)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0
    assert (handle.state.name, lines_of(path)) == ("Cancelled", [])


def test_a_worker_that_is_refused_leaves_no_process() -> None:
    with pytest.raises(InvalidArgument, match="1 to 64 queues"):
        serve(work.is_fresh, queues=[])
    assert spares_of(os.getpid()) == []


def test_a_process_that_does_not_listen_is_killed_in_time(processes: Processes, queue: str) -> None:
    worker = processes.worker("faulty_work.py", queue)
    spares = until(lambda: len(found := spares_of(worker.pid)) == 2 and found)
    for pid in spares:
        os.kill(pid, signal.SIGSTOP)
    handle = work.takes.with_options(queue=queue).delay(bytes(4 << 20))
    with pytest.raises(RunFailed):
        handle.result(timeout=PATIENCE)
    assert handle.state.name == "TimedOut"
    until(lambda: not all(map(is_alive, spares)))
    worker.kill()


def test_a_wrong_option_of_a_pause_is_the_codes_own_error(processes: Processes, queue: str) -> None:
    processes.worker("faulty_work.py", queue)
    failure = failure_of(work.pauses_wrongly, queue)
    assert "timeout" in str(failure) and "-1" in str(failure)


@pytest.mark.parametrize("function", [work.calls_back, work.calls_back_in_thread])
def test_a_worker_that_drains_lets_hooks_end(processes: Processes, queue: str, tmp_path: Path, function: Any) -> None:
    path = tmp_path / "notes"
    worker = processes.start("faulty_work.py", queue)
    function.with_options(queue=queue).delay(str(path)).result(timeout=PATIENCE)
    until(lambda: lines_of(path) == [["begins"]])
    worker.send_signal(signal.SIGTERM)
    assert worker.stderr is not None
    assert any("SIGTERM" in line for line in worker.stderr)
    Path(f"{path}.go").touch()
    assert worker.wait(PATIENCE) == 0
    assert lines_of(path) == [["begins"], ["ends"]]


@pytest.mark.parametrize("function", [work.uses, work.uses_async, work.fails_with])
def test_arguments_are_free_once_a_run_has_ended(processes: Processes, queue: str, function: Any) -> None:
    processes.worker("faulty_work.py", queue)

    def n_held() -> int:
        return work.n_held.with_options(queue=queue).delay().result(timeout=PATIENCE)  # type: ignore[no-any-return]

    assert n_held() == 0
    for _ in range(3):
        function.with_options(queue=queue).delay(work.Large()).result(timeout=PATIENCE, raise_on_failure=False)
    until(lambda: n_held() == 0)


def test_code_that_does_not_end_takes_no_place(
    processes: Processes, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT", "33")
    monkeypatch.setenv("TIDEGATE_HEARTBEAT_LINE_SECONDS", "0.1")
    worker = processes.start("faulty_work.py", queue)
    for _ in range(3):
        handles = [work.does_not_hear.with_options(queue=queue).delay() for _ in range(33)]
        until(lambda: all(handle.state.type == "RUNNING" for handle in handles))
        for handle in handles:
            handle.cancel()
        for handle in handles:
            handle.wait(timeout=PATIENCE)
    work.works.with_options(queue=queue).delay().result(timeout=PATIENCE)
    assert worker.stderr is not None
    assert any("done 1, failed 0, told to stop and going on 99, connected" in line for line in worker.stderr)


SCRIPT = """
import atexit, threading
import process_work as work

work.where_process_task()

def start(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")  # as Python 3.12 does

@atexit.register
def begin():
    threading.Thread.start = start
"""


def test_the_end_of_a_program_with_processes_is_quiet(processes: Processes) -> None:
    script = processes.start("-c", SCRIPT)
    assert script.communicate(timeout=PATIENCE) == ("", "")
    assert script.returncode == 0
