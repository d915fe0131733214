"""Stopping running code."""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Optional

from ._lazy import asyncio
from .errors import Interrupted


class Control:
    """Stops the code of one attempt when the core says so.

    Async code is cancelled at its next await. Code in a thread has :class:`Interrupted` raised between two steps of the
    interpreter; a long call into C is not interrupted.
    """

    def __init__(
        self, on_stop: Optional[Callable[[str, str, float], None]] = None, *, ends_with_process: bool = True
    ) -> None:
        self._lock = threading.Lock()
        self._interrupt: Optional[Callable[[], None]] = None
        self._on_stop = on_stop
        #: That of the code that called this one's, in the same thread.
        self._outer: Optional[Control] = None
        #: Its interrupt came while it had called other code, and ended that alone.
        self._missed = False
        #: The thread whose code it stops; None for code of another process.
        self._ident: Optional[int] = None
        #: It is stopped with all others as the process ends.
        self._ends_with_process = ends_with_process
        #: ``(kind, message)`` once it has been stopped; kinds are those of ``_core``: ``cancel``, ``timed_out``, ….
        self.stopped: Optional[tuple[str, str]] = None

    def stop(self, kind: str, message: str, grace: float) -> None:
        """Called by the core's callback thread."""
        if kind == "go":
            return
        with self._lock:
            self.stopped = (kind, message)
            if self._interrupt is not None:
                self._interrupt()
        on_stop = self._on_stop
        if on_stop is not None:
            on_stop(kind, message, grace)

    def forget(self) -> None:
        """The attempt has ended, and nobody is told of a stop any more. So what it held, its arguments above all, is free
        at once: the callback is a method of what has this."""
        self._on_stop = None

    @contextmanager
    def thread(self) -> Iterator[None]:
        """Around code of this thread that may be interrupted."""
        ident = threading.get_ident()
        self._outer = getattr(_innermost, "control", None)
        running_outers = [outer for outer in self._outers() if outer.stopped is None]
        with self._lock:
            if self.stopped is not None:
                raise Interrupted
            self._interrupt = lambda: _raise_in(ident)
        self._ident = ident
        if self._ends_with_process:
            _running.add(self)
        goes_on_outside = False
        try:
            _innermost.control = self
            yield
        except Interrupted:
            goes_on_outside = self.stopped is None
            raise
        finally:
            _innermost.control = self._outer
            _running.discard(self)
            self.release()
            if not goes_on_outside:
                for outer in running_outers:
                    outer._missed |= outer.stopped is not None

    @contextmanager
    def elsewhere(self, stop: Callable[[str, str, float], None]) -> Iterator[None]:
        """Around code of another process, which `stop` interrupts."""
        with self._lock:
            if self.stopped is not None:
                raise Interrupted
            self._on_stop = stop
        _running.add(self)
        try:
            yield
        finally:
            _running.discard(self)

    def release(self) -> None:
        """Nothing of this thread is interrupted any more."""
        with self._lock:
            if self._interrupt is not None:
                self._interrupt = None
                if self.stopped is not None or any(outer.stopped is not None for outer in self._outers()):
                    _await_interrupt()

    def _outers(self) -> Iterator[Control]:
        outer = self._outer
        while outer is not None:
            yield outer
            outer = outer._outer

    async def run(self, code: Any) -> Any:
        """Awaits `code`, which may be interrupted."""
        loop = asyncio.get_running_loop()
        inner = asyncio.ensure_future(code)
        with self._lock:
            if self.stopped is not None:
                inner.cancel()
            self._interrupt = lambda: _call_in(loop, inner.cancel)
        self._ident = threading.get_ident()
        _running.add(self)
        try:
            return await inner
        except asyncio.CancelledError:
            if self.stopped is not None and inner.cancelled():
                raise Interrupted from None
            raise
        finally:
            _running.discard(self)
            with self._lock:
                self._interrupt = None


def stop_others(cause: str) -> set[int]:
    """Stops all code of this process, as its process ends, but what called the present code; in which threads it is."""
    here = threading.get_ident()
    others = [control for control in list(_running) if control._ident != here]
    for control in others:
        control.stop("shutdown", cause, 0.0)
    return {control._ident for control in others if control._ident is not None}


def raise_missed() -> None:
    """Raises the interrupt of this thread's code that came while it had called other code."""
    control: Optional[Control] = getattr(_innermost, "control", None)
    while control is not None:
        if control._missed:
            control._missed = False
            raise Interrupted
        control = control._outer


_innermost = threading.local()
#: Of the code that runs.
_running: set[Control] = set()


def _raise_in(ident: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Interrupted))


def _await_interrupt() -> None:
    """Has an interrupt of this thread that was asked for come now: later it would hit other code.

    Not by asking for none: up to Python 3.12 the interpreter would go on looking for it, forever, at each of its steps. That is
    slow, and in 3.11 a profiler never gets to the next step.
    """
    try:
        _raise_in(threading.get_ident())  # it may have come already
        while True:
            pass
    except Interrupted:
        pass


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], Any]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        pass  # the loop has ended, and the code with it


def _forget_after_fork() -> None:
    """What other threads of the parent ran does not run here. Locks may have been held by the thread that stops code."""
    _running.clear()
    control: Optional[Control] = getattr(_innermost, "control", None)
    while control is not None:
        control._lock = threading.Lock()
        control = control._outer


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
