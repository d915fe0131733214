"""Processes that are kept warm."""

from __future__ import annotations

import errno
import pickle
import threading
import time
from contextlib import contextmanager
from typing import Any, Callable, Iterable, Iterator, Optional

from .. import _process
from .._connection import SLICE_SECONDS
from ..functions import Function
from .process import CannotStart, Process
from .protocol import Leave

#: A process that has imported everything waits for the next run, so that its start takes no time.
SPARES = 2
#: How long a process that is done has to flush its logs and end its threads, in seconds.
LEAVE_SECONDS = 10.0
#: A start that takes longer than this is told to who waits for it, in seconds.
SLOW_SECONDS = 10.0
#: How many processes may end before they are ready, before it is said that they cannot start.
_TRIES = 3
#: What the system says when there are too many of something, and what helps.
_MENDS = {
    errno.EAGAIN: "it has as many processes as it may: execute fewer at once, or raise its limit (ulimit -u, pids.max)",
    errno.EMFILE: "it has as many files open as it may: execute fewer at once, or raise its limit (ulimit -n)",
    errno.ENOMEM: "there is no memory for another: execute fewer at once",
}


class Pool:
    """Processes that can execute `functions`.

    :param n_spares: processes that have executed nothing and wait for a run.
    :param max_idle: processes that have executed something and are kept for the next run.
    :param max_starts: processes that are waited for at once until they are ready: many importers only slow each other
        down. None: any number.
    :param is_interruptible: who waits for a process may be interrupted. Then there is to be no `max_starts`: an interrupt
        could come between the count and its use.
    """

    def __init__(
        self,
        functions: Iterable[Function[Any, Any]],
        *,
        max_idle: int,
        n_spares: int = SPARES,
        max_starts: Optional[int] = None,
        is_interruptible: bool = False,
    ) -> None:
        self._functions = [pickle.dumps(function) for function in functions]
        self._n_spares = n_spares
        self._max_idle = max_idle
        self._look_seconds = SLICE_SECONDS if is_interruptible else None
        self._starts = threading.Semaphore(max_starts) if max_starts is not None else None
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
        try:
            self._spares.append(self._start())
            self._add_spares()
            self._spares[0].await_ready(SLOW_SECONDS, lambda: None)
        except CannotStart:
            self.close(0.0)
            raise

    def take(self, slow: Callable[[], None] = lambda: None, is_fresh: bool = False) -> Process:
        """A process that is ready, for the caller alone; calls `slow` where it has to wait long. With `is_fresh` it has
        executed nothing before.

        Raises :class:`CannotStart`.
        """
        if not is_fresh:
            idle = self._take_idle()
            if idle is not None:
                return idle
        with self._turn(slow):
            return self._take_ready(slow, is_fresh)

    def _take_ready(self, slow: Callable[[], None], is_fresh: bool) -> Process:
        for n_left in reversed(range(_TRIES)):
            # Meanwhile one may have come back.
            process = (None if is_fresh else self._take_idle()) or self._take_spare() or self._start()
            try:
                self._add_spares()
                process.await_ready(SLOW_SECONDS, slow)
                if process.has_ended():  # while it waited for a run, which is not to pay for that
                    raise CannotStart(f"{process.death().cause}, before the run began", is_for_good=False)
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

    @contextmanager
    def _turn(self, slow: Callable[[], None]) -> Iterator[None]:
        """Around a start, of which there are so many at once and no more."""
        if self._starts is None:
            yield
            return
        if not self._starts.acquire(timeout=SLOW_SECONDS):
            slow()
            self._starts.acquire()
        try:
            yield
        finally:
            self._starts.release()

    def _take_idle(self) -> Optional[Process]:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                process = self._idle.pop()
            if not process.has_ended():
                return process
            self.discard(process)

    def _take_spare(self) -> Optional[Process]:
        with self._lock:
            return self._spares.pop(0) if self._spares else None

    def _start(self) -> Process:
        if _process.is_importing:
            raise CannotStart(
                "a run is started while a process imports its script: put what starts runs below "
                '`if __name__ == "__main__":`, so that the processes do not do it again'
            )
        if not self._is_closed:
            try:
                process = Process(self._functions, self._look_seconds)
            except OSError as error:
                mend = _MENDS.get(error.errno or 0, "see what the system says of it")
                said = f"[Errno {error.errno}] {error.strerror}"  # without the file at which it came to that
                raise CannotStart(f"the system gives no process for the run ({said}): {mend}", is_for_good=False) from error
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
            if len(self._idle) < self._max_idle and not self._is_closed:
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
        # Without further threads: from Python 3.12 on, a process that ends can start none.
        deadline = time.monotonic() + seconds
        for process in idle:
            process.send(Leave())
        for process in idle:
            process.leave(max(0.0, deadline - time.monotonic()))
        with self._lock:
            leaving = list(self._leaving)
        for thread in leaving:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left = [process for process in self._all if process not in idle]
        for process in left:
            process.kill()
