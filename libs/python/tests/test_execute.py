"""`python -m tidegate.execute`: the process that executes one run for the worker of a work pool. Here this test holds the
run in the place of that worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import pytest

import pool_work as work
from conftest import HERE, PATIENCE, until
from tidegate import RunCancelled, RunCrashed, RunFailed, _core
from tidegate._connection import client
from tidegate.execute import TAKEN_AWAY

pytestmark = pytest.mark.usefixtures("server")


class Held(NamedTuple):
    """A run that was assigned and that nobody executes yet."""

    handle: Any
    attempt: _core.Attempt

    def execute(self, target: str, epoch: int = 0) -> subprocess.Popen[str]:
        """Starts the process that is to execute it."""
        run = {"TIDEGATE_RUN_ID": self.attempt.run_id, "TIDEGATE_RUN_EPOCH": str(epoch or self.attempt.epoch)}
        command = [sys.executable, "-m", "tidegate.execute", target]
        return subprocess.Popen(
            command, cwd=HERE, env={**os.environ, **run}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


class Holder:
    """Takes runs, as the worker of a pool does."""

    def __init__(self) -> None:
        self._queue = f"q-{uuid.uuid4().hex[:12]}"
        names = ("pool-adds", "pool-awaits", "pool-holds", "pool-raises")
        functions = [("flow", name) for name in names]
        self._worker = _core.Worker(
            client(), queues=[self._queue], functions=functions, task_slots=0, flow_slots=10, drain_grace=0.0
        )

    def hold(self, flow: Any, *arguments: Any) -> Held:
        """Has a run of `flow` assigned."""
        handle = flow.with_options(queue=self._queue, max_crashes=0).delay(*arguments)
        (attempt,) = until(lambda: self._worker.next(0.1))
        return Held(handle, attempt)

    def end(self) -> None:
        self._worker.drain()


@pytest.fixture
def holder() -> Iterator[Holder]:
    holder = Holder()
    yield holder
    holder.end()


def test_it_executes_sync_and_async_flows_and_reports_them(holder: Holder) -> None:
    held = holder.hold(work.adds, 3, 4)
    process = held.execute("pool_work.py:adds")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert held.handle.result(timeout=PATIENCE) == 10
    assert "adding" not in out, "what log_prints puts into the log has one line there"
    held = holder.hold(work.awaits, "tide")
    process = held.execute("pool_work:awaits")
    assert process.wait(PATIENCE) == 0
    assert held.handle.result(timeout=PATIENCE) == "TIDE"


def test_it_reports_what_the_code_raises_also_while_it_is_imported(holder: Holder) -> None:
    wrong = [
        ("pool_work.py:raises", "no such day"),
        ("pool_broken.py:raises", "no licence for this library"),
        ("pool_work.py:raise", "do you mean `raises`"),
        ("no_such_file.py:raises", "there is no such file"),
        ("pool_work.py", "is to be `module:flow`"),
    ]
    for target, text in wrong:
        held = holder.hold(work.raises, "no such day")
        process = held.execute(target)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        with pytest.raises(RunFailed, match=text):
            held.handle.result(timeout=PATIENCE)


def test_it_executes_nothing_of_a_run_that_was_taken_away(holder: Holder, tmp_path: Path) -> None:
    held = holder.hold(work.holds, str(tmp_path / "attempts"))
    process = held.execute("pool_work.py:holds", held.attempt.epoch + 1)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == TAKEN_AWAY
    assert f"under epoch {held.attempt.epoch}" in err
    assert not (tmp_path / "attempts").exists()
    held.handle.cancel()


def test_a_cancel_reaches_it_and_wakes_code_that_sleeps(holder: Holder, tmp_path: Path) -> None:
    path = tmp_path / "attempts"
    held = holder.hold(work.holds, str(path))
    process = held.execute("pool_work.py:holds")
    until(lambda: path.exists() and path.read_text())
    held.handle.cancel()
    assert process.wait(PATIENCE) == 0
    with pytest.raises(RunCancelled):
        held.handle.result(timeout=PATIENCE)


def test_sigterm_stops_it_in_order(holder: Holder, tmp_path: Path) -> None:
    path = tmp_path / "attempts"
    held = holder.hold(work.holds, str(path))
    process = held.execute("pool_work.py:holds")
    until(lambda: path.exists() and path.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    with pytest.raises(RunCrashed, match="SIGTERM asked its process to end"):
        held.handle.result(timeout=PATIENCE)


def test_without_a_run_it_tells_how_it_is_started() -> None:
    done = subprocess.run([sys.executable, "-m", "tidegate.execute", "x:y"], capture_output=True, text=True, cwd=HERE)
    assert done.returncode == 2 and "tidegate worker start" in done.stderr
