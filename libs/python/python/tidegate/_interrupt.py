"""Stopping running code."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Optional

from .errors import Interrupted


class Control:
    """Stops the code of one attempt when the core says so.

    Async code is cancelled at its next await. Code in a thread has :class:`Interrupted` raised between two steps of the
    interpreter; a long call into C is not interrupted.
    """

    def __init__(self, on_stop: Optional[Callable[[str, str, float], None]] = None) -> None:
        self._lock = threading.Lock()
        self._interrupt: Optional[Callable[[], None]] = None
        self._on_stop = on_stop
        #: That of the code that called this one's, in the same thread.
        self._outer: Optional[Control] = None
        #: Its interrupt came while it had called other code, and ended that alone.
        self._missed = False
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
        if self._on_stop is not None:
            self._on_stop(kind, message, grace)

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
        goes_on_outside = False
        try:
            _innermost.control = self
            yield
        except Interrupted:
            goes_on_outside = self.stopped is None
            raise
        finally:
            _innermost.control = self._outer
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
        yield

    def release(self) -> None:
        """Nothing of this thread is interrupted any more."""
        with self._lock:
            if self._interrupt is not None:
                self._interrupt = None
                # One that was asked for and has not come yet would hit other code.
                ident = ctypes.c_ulong(threading.get_ident())
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, None)

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
        try:
            return await inner
        except asyncio.CancelledError:
            if self.stopped is not None and inner.cancelled():
                raise Interrupted from None
            raise
        finally:
            with self._lock:
                self._interrupt = None


def raise_missed() -> None:
    """Raises the interrupt of this thread's code that came while it had called other code."""
    control: Optional[Control] = getattr(_innermost, "control", None)
    while control is not None:
        if control._missed:
            control._missed = False
            raise Interrupted
        control = control._outer


_innermost = threading.local()


def _raise_in(ident: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Interrupted))


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], Any]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        pass  # the loop has ended, and the code with it
