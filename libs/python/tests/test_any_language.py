"""A worker in plain Python, made from the proto alone: what any language with gRPC can do."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, Processes

from tidegate import RunCancelled, RunFailed, RunHandle, task

PROTO = Path(__file__).parents[3] / "proto"
WORKER = PROTO / "examples" / "worker.py"


@task
def greet(name: str) -> str:
    raise AssertionError("executed by the plain worker")


@task
def count(to: int) -> int:
    raise AssertionError("executed by the plain worker")


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder with the stubs, made as `proto/README.md` says."""
    folder = str(tmp_path_factory.mktemp("stubs"))
    files = sorted(map(str, (PROTO / "tidegate" / "v1").glob("*.proto")))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={folder}"]
    subprocess.run([*command, f"--grpc_python_out={folder}", *files], check=True)
    Path(folder, "tidegate", "__init__.py").touch()
    return folder


@pytest.fixture
def start(
    server: str, stubs: str, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> list[subprocess.Popen[str]]:
    """A plain worker at work."""
    monkeypatch.setenv("PYTHONPATH", stubs)
    return [_worker(processes)]


def _worker(processes: Processes) -> subprocess.Popen[str]:
    worker = processes.start(str(WORKER))
    assert worker.stdout is not None
    assert worker.stdout.readline() == "serving greet, count\n"
    return worker


def _until_running(handle: RunHandle) -> None:
    while not handle.state.is_running():
        assert not handle.state.is_ended(), handle.state


def test_it_is_short() -> None:
    assert len(WORKER.read_text().splitlines()) < 150


def test_it_takes_more_runs_than_it_has_slots(start: list[subprocess.Popen[str]]) -> None:
    handles = greet.delay_map([f"{n}" for n in range(50)])
    assert [handle.result(PATIENCE) for handle in handles] == [f"hello {n}" for n in range(50)]


def test_it_reports_what_fails_and_what_takes_too_long(start: list[subprocess.Popen[str]]) -> None:
    with pytest.raises(RunFailed, match="unsupported operand|cannot be interpreted"):
        count.with_options(validate_parameters=False).delay("many").result(PATIENCE)  # type: ignore[arg-type]
    timed_out = count.with_options(timeout_seconds=0.2).delay(1_000)
    assert timed_out.wait(PATIENCE)
    assert timed_out.state.name == "TimedOut"


def test_its_heartbeats_keep_a_run_longer_than_a_lease(start: list[subprocess.Popen[str]]) -> None:
    handle = count.delay(120)  # 6 s; the lease of `tidegate dev` lasts 5
    assert handle.result(PATIENCE) == 120
    run = handle.run()
    assert (run.attempt, run.crashes) == (1, 0)


def test_it_is_cancelled(start: list[subprocess.Popen[str]]) -> None:
    handle = count.delay(100_000)
    _until_running(handle)
    handle.cancel("no longer needed")
    with pytest.raises(RunCancelled):
        handle.result(PATIENCE)
    assert greet.delay("again").result(PATIENCE) == "hello again"  # its slot is free


def test_it_drains(start: list[subprocess.Popen[str]], processes: Processes) -> None:
    running = count.delay(40)
    _until_running(running)
    start[0].send_signal(signal.SIGTERM)
    later = greet.delay("later")
    assert running.result(PATIENCE) == 40
    assert start[0].wait(PATIENCE) == 0
    assert running.run().crashes == 0
    _worker(processes)
    assert later.result(PATIENCE) == "hello later"


def test_another_one_takes_over_when_it_is_killed(start: list[subprocess.Popen[str]], processes: Processes) -> None:
    handle = count.delay(100_000)
    _until_running(handle)
    _worker(processes)
    start[0].kill()
    while handle.run().crashes == 0:  # its lease ends
        pass
    _until_running(handle)
    handle.cancel("seen")
    assert handle.wait(PATIENCE)
    assert (handle.run().attempt, handle.run().crashes) == (2, 1)
