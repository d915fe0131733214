"""What threads share: timers, and the pauses of a run."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import PATIENCE
from tidegate import _attempt, _timer, task
from tidegate._process import child
from tidegate._process.execution import Execution
from tidegate._process.protocol import Assign, Resumed
from tidegate._worker_lines import Tally

pytestmark = pytest.mark.every_python


def n_threads_of_timers() -> int:
    return sum(isinstance(thread, threading.Timer) or thread.name == "tidegate-timer" for thread in threading.enumerate())


def test_timers_are_called_in_their_order_unless_they_are_cancelled() -> None:
    called: list[int] = []
    last = threading.Event()
    timers = [_timer.after(seconds / 4, lambda n=seconds: called.append(n)) for seconds in (3, 1, 4, 2)]  # type: ignore[misc]
    timers[2].cancel()
    timers[2].cancel()
    _timer.after(1.25, last.set)
    assert last.wait(PATIENCE)
    assert called == [1, 2, 3]


def test_a_timer_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr("sys.excepthook", lambda *error: told.append(error[0]))
    after = threading.Event()
    _timer.after(0.0, lambda: {}["no"])
    _timer.after(0.01, after.set)
    assert after.wait(PATIENCE)
    assert told == [KeyError]


@task
def stopped() -> None: ...


def test_runs_that_are_told_to_stop_share_one_thread() -> None:
    run_id = "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b"
    told: dict[str, Any] = dict(run_id=run_id, root_run_id=run_id, parent_run_id="", kind="task", name="stopped", attempt=1, epoch=1)
    given: Any = SimpleNamespace(
        **told, traceparent="", tags=[], on_stop=lambda call: None, pauser=lambda: None, start=lambda: None
    )
    attempts = [_attempt._Attempt(given, stopped, Tally()) for _ in range(20)]
    process: Any = SimpleNamespace(send=lambda word: None, terminate=lambda: None, kill=lambda: None)
    executions = [Execution(process, Assign(n, b"", {}), None) for n in range(20)]
    for running in attempts:
        running.control.stop("cancel", "", 3_600.0)
    for execution in executions:
        execution.stop("cancel", "", 3_600.0)
    assert n_threads_of_timers() == 1
    for timer in [running._timer for running in attempts] + [timer for each in executions for timer in each._timers]:
        assert timer is not None
        timer.cancel()
    assert not _timer._timers


def test_threads_of_a_run_may_pause_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)

    class Answer(child._Answer):
        def __init__(self) -> None:
            super().__init__()
            both.wait(PATIENCE)  # each has its number by now

    monkeypatch.setattr(child, "_Answer", Answer)
    said: list[Any] = []
    pauser = child._Pauser(1, said.append)
    answers: dict[str, Any] = {}

    def pause(key: str) -> None:
        answers[key] = pauser.pause(key)

    threads = [threading.Thread(target=pause, args=(key,)) for key in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    for word in said:
        pauser.resumed(Resumed(1, word.pause, ("json", word.key.encode()), None))
    assert {key: answer.result()[1] for key, answer in answers.items()} == {"a": b"a", "b": b"b"}
