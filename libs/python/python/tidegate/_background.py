"""The threads, and the event loop, for code that is executed in the background outside of any run's own."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

from ._lazy import asyncio
from ._runtime import DEFAULT_MAX_WORKERS

_lock = threading.Lock()
_root: Optional[ThreadPoolExecutor] = None
_loop: Optional[asyncio.AbstractEventLoop] = None


def root_executor() -> ThreadPoolExecutor:
    """For what is submitted outside of any run."""
    global _root
    with _lock:
        if _root is None:
            _root = ThreadPoolExecutor(DEFAULT_MAX_WORKERS, thread_name_prefix="tidegate")
        return _root


def async_loop() -> asyncio.AbstractEventLoop:
    """The event loop, on a thread of its own, for async code that does not run in its caller's."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="tidegate-async", daemon=True).start()
        return _loop


def is_async_loop(loop: asyncio.AbstractEventLoop) -> bool:
    """True for that event loop."""
    return loop is _loop


def _forget_after_fork() -> None:
    global _lock, _root, _loop
    _lock = threading.Lock()
    _root, _loop = None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
