"""Processes that are kept warm."""

from __future__ import annotations

import pickle
import threading
import time
from typing import Any, Callable, Iterable, Optional

from .. import _process
from .._connection import SLICE_SECONDS
from ..functions import Function
from .process import CannotStart, Process

#: A process that has imported everything waits for the next run, so that its start takes no time.
SPARES = 2
#: How long a process that is done has to flush its logs and end its threads, in seconds.
LEAVE_SECONDS = 10.0
#: A start that takes longer than this is told to who waits for it, in seconds.
SLOW_SECONDS = 10.0
#: How many processes may end before they are ready, before it is said that they cannot start.
_TRIES = 3


class Pool:
    """Processes that can execute `functions`."""

    def __init__(
        self,
        functions: Iterable[Function[Any, Any]],
        *,
        n_spares: int = SPARES,
        max_idle: Optional[int] = None,
        is_interruptible: bool = False,
    ) -> None:
        self._functions = [pickle.dumps(function) for function in functions]
        self._n_spares = n_spares
        self._max_idle = max_idle
        self._look_seconds = SLICE_SECONDS if is_interruptible else None
        self._lock = threading.Lock()
        self._spares: list[Process] = []
        self._n_starting = 0
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._leaving: set[threading.Thread] = set()
        self._is_closed = False

    def warm(self) -> None:
        """Has the spare processes started, and waits for the first.

        Raises :class:`CannotStart` where it cannot import what it needs.
        """
        self._add_spares()
        try:
            self._spares[0].await_ready(SLOW_SECONDS, lambda: None)
        except CannotStart:
            self.close(0.0)
            raise

    def take(self, slow: Callable[[], None] = lambda: None, is_fresh: bool = False) -> Process:
        """A process that is ready, for the caller alone; calls `slow` where it has to wait long. With `is_fresh` it has
        executed nothing before.

        Raises :class:`CannotStart`.
        """
        for n_left in reversed(range(_TRIES)):
            process = self._next(is_fresh)
            self._add_spares()
            try:
                process.await_ready(SLOW_SECONDS, slow)
            except CannotStart as error:
                self.discard(process)
                if not n_left or error.is_for_good:
                    raise
            except BaseException:  # who waits for it is interrupted
                self.discard(process)
                raise
            else:
                return process
        raise AssertionError("the loop returns or raises")

    def _next(self, is_fresh: bool) -> Process:
        with self._lock:
            while self._idle and not is_fresh:
                process = self._idle.pop()
                if not process.has_ended():
                    return process
                self._all.discard(process)
                process.close()
            if self._spares:
                return self._spares.pop(0)
        return self._start()

    def _start(self) -> Process:
        if _process.is_importing:
            raise CannotStart(
                "a run is started while a process imports its script: put what starts runs below "
                '`if __name__ == "__main__":`, so that the processes do not do it again'
            )
        if not self._is_closed:
            process = Process(self._functions, self._look_seconds)
            with self._lock:
                if not self._is_closed:
                    self._all.add(process)
                    return process
            process.close()
        raise CannotStart("the process ends, and starts no other")

    def _add_spares(self) -> None:
        while True:
            with self._lock:
                if self._is_closed or len(self._spares) + self._n_starting >= self._n_spares:
                    return
                self._n_starting += 1
            try:
                process = self._start()
                with self._lock:
                    self._spares.append(process)
            except CannotStart:
                return  # who takes one is told
            finally:
                with self._lock:
                    self._n_starting -= 1

    def give_back(self, process: Process) -> None:
        """The process can execute another run."""
        with self._lock:
            has_room = self._max_idle is None or len(self._idle) < self._max_idle
            if has_room and not self._is_closed:
                self._idle.append(process)
                return
        self.dismiss(process)

    def dismiss(self, process: Process, seconds: float = LEAVE_SECONDS) -> None:
        """Lets the process flush and end, within `seconds`; nobody waits for it."""
        thread = threading.Thread(target=self._leave, args=(process, seconds), name="tidegate-leaving", daemon=True)
        with self._lock:
            self._leaving.add(thread)
        thread.start()

    def _leave(self, process: Process, seconds: float) -> None:
        process.leave(seconds)
        with self._lock:
            self._all.discard(process)
            self._leaving.discard(threading.current_thread())

    def discard(self, process: Process) -> None:
        """Ends the process, and whatever it has started, at once."""
        process.close()
        with self._lock:
            self._all.discard(process)

    def close(self, seconds: float = LEAVE_SECONDS) -> None:
        """Lets idle processes flush, within `seconds`, and ends all."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            spares, self._spares = self._spares, []
        for process in spares:
            self.discard(process)
        for process in idle:
            self.dismiss(process)
        deadline = time.monotonic() + seconds
        with self._lock:
            leaving = list(self._leaving)
        for thread in leaving:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left = list(self._all)
        for process in left:
            process.kill()
