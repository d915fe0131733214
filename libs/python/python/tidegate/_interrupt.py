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
        with self._lock:
            if self.stopped is not None:
                raise Interrupted
            self._interrupt = lambda: _raise_in(ident)
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None
                # One that was asked for and has not come yet would hit other code.
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), None)

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


def _raise_in(ident: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Interrupted))


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], Any]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        pass  # the loop has ended, and the code with it
