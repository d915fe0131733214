"""One thread that calls what is to be called later. What it calls must not wait for anything: others are due, too."""

from __future__ import annotations

import heapq
import itertools
import os
import sys
import threading
import time
from typing import Callable, Optional


class Timer:
    """A call to be."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self._order = (at, next(_numbers))
        self._call: Optional[Callable[[], None]] = call

    def __lt__(self, other: Timer) -> bool:
        return self._order < other._order

    def cancel(self) -> None:
        """It is not called, unless that has begun. May be said again, and after the call."""
        with _changed:
            self._call = None
            if self in _timers:
                _timers.remove(self)
                heapq.heapify(_timers)


def after(seconds: float, call: Callable[[], None]) -> Timer:
    """Has `call` called in so many seconds, by a thread that all share."""
    global _thread
    with _changed:
        timer = Timer(time.monotonic() + seconds, call)
        heapq.heappush(_timers, timer)
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_run, name="tidegate-timer", daemon=True)
            _thread.start()
        _changed.notify()
    return timer


def _run() -> None:
    while True:
        call = _next()
        try:
            call()
        except Exception as error:  # one call's fault is not the others'
            sys.excepthook(type(error), error, error.__traceback__)
        del call  # what it holds is not kept until the next one


def _next() -> Callable[[], None]:
    """The next call, once it is due."""
    with _changed:
        while True:
            left = _timers[0]._order[0] - time.monotonic() if _timers else None
            if left is not None and left <= 0:
                timer = heapq.heappop(_timers)
                call, timer._call = timer._call, None
                assert call is not None  # one that was cancelled is not among them
                return call
            _changed.wait(left)


_numbers = itertools.count()
_changed = threading.Condition()
_timers: list[Timer] = []
_thread: Optional[threading.Thread] = None


def _forget_after_fork() -> None:
    global _changed, _thread
    _changed = threading.Condition()
    _timers.clear()
    _thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
