"""Flows, and tasks that ask for it, are executed in processes of their own: against a real server, with real kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import process_work as work
from conftest import HERE, PATIENCE, Processes, until
from tidegate import RunCancelled, RunCrashed, RunFailed, find_runs
from tidegate._process.process import Process

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def queue() -> str:
    """A queue of this test alone."""
    return f"q-{uuid.uuid4().hex[:12]}"


def lines_of(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def is_alive(pid: int) -> bool:
    """False for a process that is gone, and for one that has ended and that nobody asked for its exit code."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def pids_of(path: Path) -> list[int]:
    """The process of a run, and what it has started."""
    return [int(word) for word in until(lambda: lines_of(path))[0]]


def result_of(function: Any, queue: str, *arguments: Any) -> Any:
    return function.with_options(queue=queue).delay(*arguments).result(timeout=PATIENCE)


@pytest.mark.every_python
def test_a_flow_has_a_process_and_a_task_a_thread(processes: Processes, queue: str) -> None:
    worker = processes.worker("process_work.py", queue)
    for function in (work.where, work.where_async, work.where_process_task):
        pid, parent = result_of(function, queue)
        assert pid != parent == worker.pid
    for function in (work.where_in_thread, work.where_task):
        assert result_of(function, queue) == worker.pid


def test_a_process_that_does_not_come_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_PROCESS_START_SECONDS", "1")
    script = tmp_path / "waits_at_import.py"
    script.write_text(
        "import threading\nfrom tidegate import flow, serve\n@flow\ndef nightly() -> None: ...\n"
        "if __name__ == '__main__':\n    serve(nightly)\nelse:\n    threading.Event().wait()\n"
    )
    ended = subprocess.run([sys.executable, script], cwd=HERE, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1
    assert (
        "a process that is to execute runs was not ready within 1 s: what waits while a module is imported belongs into a flow "
        "or task; if it only needs longer, say so by TIDEGATE_PROCESS_START_SECONDS"
    ) in ended.stderr
    monkeypatch.setenv("TIDEGATE_PROCESS_START_SECONDS", "soon")
    ended = subprocess.run([sys.executable, script], cwd=HERE, capture_output=True, text=True, timeout=PATIENCE)
    assert "TIDEGATE_PROCESS_START_SECONDS=soon is no number of seconds" in ended.stderr


def test_a_process_that_is_aborted_tells_where_it_was() -> None:
    process = Process([])
    try:
        process.await_ready(PATIENCE, lambda: None)
        assert "tidegate/_process/child.py" in process.abort()
    finally:
        process.close()


def test_each_flow_has_a_fresh_process_and_tasks_share_warm_ones(processes: Processes, queue: str) -> None:
    processes.worker("process_work.py", queue)
    of_tasks = {result_of(work.where_process_task, queue)[0] for _ in range(3)}
    of_flows = {result_of(work.where, queue)[0] for _ in range(3)}
    assert (len(of_tasks), len(of_flows - of_tasks)) == (1, 3)


def test_what_a_process_writes_is_in_the_log(processes: Processes, queue: str) -> None:
    processes.worker("process_work.py", queue)
    handle = work.where.with_options(queue=queue).delay()
    handle.result(timeout=PATIENCE)
    until(lambda: handle.logs() == ["in a process"])


@pytest.mark.parametrize("function", [work.dies, work.dies_as_task])
@pytest.mark.parametrize(
    ("how", "cause", "in_log"),
    [
        ("segfault", "killed by SIGSEGV: code outside of Python used memory that is not its own", "in die"),
        ("SIGABRT", "killed by SIGABRT", "in die"),
        ("exit", "ended with exit code 3", "ended with exit code 3"),
        ("SIGKILL", "killed by SIGKILL: someone killed it, or the system did so for want of memory", "SIGKILL"),
    ],
)
def test_a_process_that_dies_is_a_run_that_crashed(
    processes: Processes, queue: str, tmp_path: Path, function: Any, how: str, cause: str, in_log: str
) -> None:
    path = tmp_path / "pids"
    worker = processes.worker("process_work.py", queue)
    other = work.waits_for_file.with_options(queue=queue).delay(str(path))
    until(lambda: lines_of(path))
    handle = function.with_options(queue=queue).delay(how)
    with pytest.raises(RunCrashed, match=cause):
        handle.result(timeout=PATIENCE)
    assert handle.state.is_crashed() and cause in handle.state.message
    until(lambda: in_log in "\n".join(handle.logs()))
    # The worker, and what else it executes, goes on.
    Path(f"{path}.go").touch()
    assert other.result(timeout=PATIENCE) == "went on"
    assert result_of(work.where_task, queue) == worker.pid


def test_a_hundred_tasks_that_abort_are_a_hundred_crashes_of_theirs_alone(processes: Processes, queue: str) -> None:
    worker = processes.worker("process_work.py", queue)
    causes = {"SIGABRT": "killed by SIGABRT", "SIGKILL": "killed by SIGKILL"}
    handles = [work.dies_as_task.with_options(queue=queue).delay(how) for how in causes for _ in range(50)]
    others = [work.where_process_task.with_options(queue=queue).delay() for _ in range(5)]
    for handle, how in zip(handles, (how for how in causes for _ in range(50))):
        with pytest.raises(RunCrashed, match=causes[how]):
            handle.result(timeout=PATIENCE)
        run = handle.run()
        assert (run.state[0], run.attempt, run.crashes) == ("CRASHED", 1, 1), run
    # The worker lives, has all its slots, and nothing was left behind.
    assert all(handle.result(timeout=PATIENCE)[1] == worker.pid for handle in others)
    assert result_of(work.where_process_task, queue)[1] == worker.pid
    assert worker.poll() is None


def test_a_flow_that_crashed_is_delivered_again(processes: Processes, queue: str, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    worker = processes.worker("process_work.py", queue)
    handle = work.dies_once.with_options(queue=queue).delay(str(path))
    assert handle.result(timeout=PATIENCE) == 2
    assert handle.run().crashes == 1
    assert len({pid for (pid,) in lines_of(path)}) == 2
    assert worker.poll() is None


def test_nothing_survives_a_worker_that_was_killed(processes: Processes, queue: str, tmp_path: Path) -> None:
    """Neither code that gives Python's lock to nobody, nor what it has started."""
    path = tmp_path / "pids"
    worker = processes.worker("process_work.py", queue)
    handle = work.computes.with_options(queue=queue).delay(str(path))
    pids = pids_of(path)
    assert all(map(is_alive, pids))
    until(lambda: handle.state.is_running())
    worker.send_signal(signal.SIGKILL)
    until(lambda: not any(map(is_alive, pids)))
    processes.worker("process_work.py", queue)
    handle.result(timeout=PATIENCE)
    assert (handle.run().attempt, handle.run().crashes) == (2, 1)


def test_nothing_survives_a_flow_that_was_killed(processes: Processes, queue: str, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    processes.worker("process_work.py", queue)
    handle = work.dies_over_its_pool.with_options(queue=queue).delay(str(path))
    with pytest.raises(RunCrashed):
        handle.result(timeout=PATIENCE)
    until(lambda: not any(map(is_alive, pids_of(path))))


def test_children_end_with_a_flow_that_crashed_for_good(processes: Processes, queue: str) -> None:
    processes.worker("process_work.py", queue)
    handle = work.dies_over_its_children.with_options(queue=queue).delay()
    with pytest.raises(RunCrashed):
        handle.result(timeout=PATIENCE)
    detached, bound = find_runs(parent=handle)
    until(lambda: bound.state.is_cancelled())
    assert (detached.run().tags, detached.state.type) == (["detached"], "SCHEDULED")


SCRIPT = """
import sys
import process_work as work
work.computes_in_a_pool.with_options(execution="process")(sys.argv[1])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_survives_a_script(processes: Processes, tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "pids"
    script = processes.start("-c", SCRIPT, str(path))
    pids = pids_of(path)
    script.send_signal(number)
    assert script.wait(PATIENCE) != 0
    until(lambda: not any(map(is_alive, pids)))


@pytest.mark.every_python
def test_a_call_that_sleeps_is_interrupted(processes: Processes, queue: str, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    processes.worker("process_work.py", queue)
    handle = work.sleeps_too_long.with_options(queue=queue).delay(str(path))
    with pytest.raises(RunFailed):
        handle.result(timeout=PATIENCE)
    assert handle.state.name == "TimedOut"
    assert lines_of(path)[1] == ["cleaned", "up"]
    until(lambda: not any(map(is_alive, pids_of(path))))


def test_code_that_nothing_breaks_into_is_killed_when_it_is_out_of_time(
    processes: Processes, queue: str, tmp_path: Path
) -> None:
    path = tmp_path / "pids"
    processes.worker("process_work.py", queue)
    handle = work.computes_too_long.with_options(queue=queue).delay(str(path))
    with pytest.raises(RunFailed):
        handle.result(timeout=PATIENCE)
    assert handle.state.name == "TimedOut"
    until(lambda: not any(map(is_alive, pids_of(path))))


@pytest.mark.parametrize("function", [work.does_not_end, work.ends_when_told])
def test_a_cancel_ends_the_process_and_all_below(
    processes: Processes, queue: str, tmp_path: Path, function: Any
) -> None:
    path = tmp_path / "pids"
    processes.worker("process_work.py", queue)
    handle = function.with_options(queue=queue).delay(str(path))
    pids = pids_of(path)
    handle.cancel("not needed any more")
    with pytest.raises(RunCancelled):
        handle.result(timeout=PATIENCE)
    until(lambda: not any(map(is_alive, pids)))
    if function is work.ends_when_told:
        assert lines_of(path)[1] == ["cleaned", "up"]


def test_what_a_flow_forks_hears_signals(processes: Processes, queue: str) -> None:
    processes.worker("process_work.py", queue)
    assert result_of(work.ends_what_it_forks, queue) == [-signal.SIGTERM] * 20


def test_what_was_printed_before_a_crash_is_seen(processes: Processes, queue: str) -> None:
    worker = processes.worker("process_work.py", queue)
    handle = work.prints_and_dies.with_options(queue=queue, max_crashes=0).delay()
    handle.result(timeout=PATIENCE, raise_on_failure=False)
    assert worker.stdout is not None and worker.stdout.readline() == "the last words\n"


def test_lines_that_were_sent_before_a_crash_are_kept(processes: Processes, queue: str) -> None:
    worker = processes.worker("process_work.py", queue)
    handle = work.logs_and_dies.with_options(queue=queue).delay()
    with pytest.raises(RunCrashed, match="ended with exit code 3"):
        handle.result(timeout=PATIENCE)
    until(lambda: "ended with exit code 3" in "\n".join(handle.logs()))
    lines = [line for line in handle.logs() if "exit code" not in line]
    # The second is on its way when the process is gone, and may get lost; what is printed is not.
    assert lines in (["sent before"], ["sent before", "a moment before"])
    assert worker.stdout is not None and worker.stdout.readline() == "the last words\n"


def test_a_worker_drains_its_processes(processes: Processes, queue: str, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    worker = processes.start("process_work.py", queue)
    handle = work.waits_for_file.with_options(queue=queue).delay(str(path))
    (pid,) = pids_of(path)
    worker.send_signal(signal.SIGTERM)
    assert worker.stderr is not None
    assert any("SIGTERM" in line for line in worker.stderr)
    Path(f"{path}.go").touch()
    assert handle.result(timeout=PATIENCE) == "went on"
    assert worker.wait(PATIENCE) == 0
    assert not is_alive(pid)


def serving(program: str, tmp_path: Path, *, as_file: bool = True) -> str:
    """The error of a program that serves."""
    script = tmp_path / "serving.py"
    script.write_text(program)
    arguments = [str(script)] if as_file else ["-c", program]
    ended = subprocess.run([sys.executable, *arguments], cwd=HERE, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode != 0
    return ended.stderr.strip().splitlines()[-1]


GUARD = 'if __name__ == "__main__":\n    '


def test_what_a_process_cannot_import_is_an_error_when_it_is_served(tmp_path: Path) -> None:
    head = "from tidegate import flow, serve\n"
    mend = 'define it at the top level of a module that can be imported, or execute it with execution="thread"'
    top = "@flow\ndef f(): pass\n"
    inner = "def make():\n    @flow\n    def f(): pass\n    return f\n"
    error = "tidegate.errors.InvalidArgument: another process cannot find the flow `f`"
    assert serving(f"{head}{inner}{GUARD}serve(make())", tmp_path) == f"{error}: it is defined inside `make`; {mend}"
    prompt = "it is defined at a prompt, in a notebook or by `python -c`, so there is no file to import it from"
    assert serving(f"{head}{top}serve(f)", tmp_path, as_file=False) == f"{error}: {prompt}; {mend}"
    assert serving(f"{head}{top}serve(f)", tmp_path) == (
        "tidegate.errors.InvalidArgument: serve() is called while a process of this worker imports its script: put the "
        'call below `if __name__ == "__main__":`, so that it is made by the worker alone'
    )
    below = f"{head}{GUARD}@flow\n    def f(): pass\n    serve(f)"
    assert serving(below, tmp_path) == "ImportError: there is no flow or task `f` in the module `__main__`"


@pytest.mark.every_python
def test_functions_travel_by_name_with_their_options() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(work.where)) is work.where
    other = work.where.with_options(retries=3, name="elsewhere")
    copy = pickle.loads(pickle.dumps(other))
    assert (copy.fn, copy.name, copy.options) == (other.fn, "elsewhere", other.options)
    assert deepcopy([other])[0] is other


def test_the_memory_killer_is_named() -> None:
    from tidegate._process.death import OomKills, cause_of

    before = OomKills(1, 5)
    assert "out of memory: the control group" in cause_of(-9, before, OomKills(2, 6))
    assert "probably out of memory" in cause_of(-9, before, OomKills(1, 6))
    assert "someone killed it" in cause_of(-9, before, before)
    assert "killed by signal 77" in cause_of(-77, before, before)
    assert "killed by SIGTERM: someone asked it to end" in cause_of(-15, before, OomKills(2, 6))
