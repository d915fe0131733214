"""One run in a child."""

from __future__ import annotations

import itertools
import threading
import time
from functools import partial
from typing import Any, Optional, Union

from .. import _timer
from .._connection import client
from .._runtime import Answer, Pauser
from .death import Death
from .process import Process
from .protocol import Assign, Done, Ended, Hooked, Pause, Resumed, Stop

#: How long code has to end, by the cause of its stop, in seconds; a cancel says it itself.
GRACE_SECONDS = {"timed_out": 5.0, "lost": 5.0, "shutdown": 1.5}

#: The level of an error, as the protocol has it.
_ERROR = 17

_numbers = itertools.count(1)


def next_number() -> int:
    """Tells a run from the others of its process."""
    return next(_numbers)


def log_death(death: Death, run_id: str, root_run_id: str, attempt: int, traceparent: str) -> None:
    """Writes it into the run's log, with where the code was."""
    client().log(
        run_id=run_id,
        root_run_id=root_run_id,
        attempt=attempt,
        level=_ERROR,
        logger="tidegate.process",
        message=f"{death.cause}\n{death.stack}".strip(),
        traceparent=traceparent,
    )


class Execution:
    """A child executes a run; its parent listens to it, and stops it.

    A stop comes in three steps: the child interrupts its code, also in a call that sleeps; after half of the grace the
    whole process group gets SIGTERM, and at its end SIGKILL, which nothing withstands.
    """

    def __init__(self, process: Process, assign: Assign, pauser: Optional[Pauser]) -> None:
        self._process = process
        self._assign = assign
        self._pauser = pauser
        self._lock = threading.Lock()
        self._pauses: dict[int, Answer] = {}
        self._timers: list[_timer.Timer] = []
        self._said: Optional[Stop] = None
        self._is_assigned = False
        self._has_ended = False

    def run(self) -> Union[Done, Death]:
        """Has the child execute the run, and waits for the end of either."""
        # Never with the lock: a child that does not listen would keep the timers from killing it.
        self._process.send(self._assign)
        with self._lock:
            self._is_assigned = True
            said = self._said
        if said is not None:
            self._process.send(said)
        try:
            while True:
                word = self._process.receive()
                if word is None:
                    return self._process.death()
                if isinstance(word, Pause):
                    self._pause(word)
                elif isinstance(word, Done):
                    return word
        finally:
            self.abandon()

    def abandon(self) -> None:
        """The run has ended, or is not to begin: nothing is stopped any more."""
        with self._lock:
            self._has_ended = True
            for timer in self._timers:
                timer.cancel()
            self._pauses.clear()

    def settle(self, state: Optional[tuple[str, str, str]], seconds: Optional[float]) -> bool:
        """Tells the child what became of the run, and waits until it has called its hooks; False where it has ended before, or
        has not come to their end within `seconds`."""
        deadline = None if seconds is None else time.monotonic() + seconds
        self._process.send(Ended(self._assign.number, state))
        while (word := self._process.receive(None if deadline is None else max(0.0, deadline - time.monotonic()))) is not None:
            if isinstance(word, Hooked):
                return True
        return False

    def stop(self, kind: str, message: str, grace: float) -> None:
        """Ends the code. May be called again with a graver cause, before, during and after the run."""
        grace = GRACE_SECONDS.get(kind, grace)
        with self._lock:
            if self._has_ended:
                return
            for timer in self._timers:
                timer.cancel()
            steps = ((grace / 2, self._process.terminate), (grace, self._process.kill))
            self._timers = [_timer.after(seconds, partial(self._if_running, step)) for seconds, step in steps]
            self._said = said = Stop(self._assign.number, kind, message, grace)
            is_assigned = self._is_assigned
        if is_assigned:
            self._process.send(said)

    def tell_stop(self, kind: str, message: str, grace: float) -> None:
        """Tells the child alone: who calls it waits no longer, and sees to the rest."""
        self._process.send(Stop(self._assign.number, kind, message, grace))

    def _if_running(self, step: Any) -> None:
        with self._lock:
            if not self._has_ended:
                step()

    def _pause(self, word: Pause) -> None:
        def refuse(error: Exception) -> None:
            self._process.send(Resumed(word.number, word.pause, None, error))

        def answer() -> None:
            try:
                resumed = Resumed(word.number, word.pause, op.result(), None)
            except Exception as error:
                return refuse(error)
            self._process.send(resumed)

        assert self._pauser is not None
        try:
            op = self._pauser.pause(word.key, **word.options)
        except Exception as error:  # a wrong option, which is the code's own to hear of
            return refuse(error)
        with self._lock:
            self._pauses[word.pause] = op  # dropped, it would not wait any longer
        op.subscribe(answer)
