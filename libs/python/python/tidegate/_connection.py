"""The process's one connection, and the thread that hears from it.

Everything here belongs to one process: a forked child forgets it and makes its own at first use.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Iterator, Optional

from . import _core, _ephemeral
from ._lazy import asyncio
from .errors import WaitTimeout

if TYPE_CHECKING:
    from ._runtime import Answer

#: How long the end of the process waits for the last logs and reports, in seconds.
CLOSE_SECONDS = 5.0
#: How often a wait looks whether Python wants something (a signal, an interrupt), in seconds.
SLICE_SECONDS = 0.1

_lock = threading.Lock()
_client: Optional[_core.Client] = None
_exporter: Optional[_core.Exporter] = None
_callbacks_running = False


def client() -> _core.Client:
    """The process's client; it connects with its first call."""
    global _client, _exporter
    if _client is None:
        with _lock:
            if _client is None:
                _ephemeral.start_if_asked()
                if _exporter is None:
                    _exporter = _core.Exporter.from_env(os.path.basename(sys.argv[0] or "python"))
                _client = _core.Client()
                _start_callbacks()
                _close_with_multiprocessing()
                from ._logging import take_extra_loggers  # which needs this module

                take_extra_loggers()
    return _client


def _close_with_multiprocessing() -> None:
    """A process of `multiprocessing` ends without what `atexit` has, and has its own in the place of it."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing import util

        util.Finalize(None, close, exitpriority=0)


def _start_callbacks() -> None:
    global _callbacks_running
    if not _callbacks_running:
        _callbacks_running = True
        threading.Thread(target=_run_callbacks, name="tidegate-callbacks", daemon=True).start()


def _run_callbacks() -> None:
    while True:
        for callback, arguments in _core.next_callbacks(3600.0):
            try:
                callback(*arguments)
            except Exception as error:  # one callback's fault is not the others'
                sys.excepthook(type(error), error, error.__traceback__)


def block(op: Answer, timeout: Optional[float] = None, what: str = "") -> Any:
    """Waits for an operation of the core, with Python's lock released, and gives its result.

    It looks after signals and interrupts every tenth of a second.
    """
    if timeout is None:
        while not op.wait(SLICE_SECONDS):
            pass
        return op.result()
    left = timeout
    while not op.wait(min(left, SLICE_SECONDS)):
        left -= SLICE_SECONDS
        if left <= 0:
            raise WaitTimeout(f"{what or 'the operation'} has not ended within {timeout:g} s")
    return op.result()


async def awaited(op: Answer) -> Any:
    """As :func:`block`, for async code: no thread waits."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    def from_callbacks() -> None:
        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:
            pass  # the loop has ended, and who waited with it

    op.subscribe(from_callbacks)
    await done
    return op.result()


@contextmanager
def another_client() -> Iterator[None]:
    """In the block this process has another client, made from the environment as it is then."""
    global _client
    with _lock:
        outside, _client = _client, None
    try:
        yield
    finally:
        with _lock:
            inside, _client = _client, outside
        if inside is not None:
            block(inside.close(CLOSE_SECONDS))


def close(seconds: float = CLOSE_SECONDS) -> None:
    """Flushes logs, reports and spans. Called when the process ends."""
    if _client is not None:
        block(_client.close(seconds))
    if _exporter is not None:
        _exporter.close(seconds)


def end() -> None:
    """The last of all: what :func:`close` does, and then the end of a server inside of this process."""
    try:
        close()
    finally:
        _ephemeral.stop()


def _forget_after_fork() -> None:
    global _client, _exporter, _callbacks_running, _lock
    # Objects of the parent must not be dropped here: their threads are not in this process.
    _inherited.append((_client, _exporter))
    _lock = threading.Lock()
    _client, _exporter, _callbacks_running = None, None, False


_inherited: list[Any] = []
atexit.register(end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
