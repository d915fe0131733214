"""Ending a program while it executes runs.

A run whose program is told to end by SIGTERM or SIGINT has crashed, and says why. So have the runs that it submitted:
they are interrupted wherever they run. The program ends with the code that the signal gives.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import Any, Iterator, Optional

from . import _interrupt
from ._lazy import asyncio

#: How long interrupted threads may take to end after the main one, in seconds, before the process ends without them.
_STUCK_SECONDS = 2.0


class Terminated(SystemExit):
    """SIGTERM came while the main thread executed a run."""


_CAUSES = {
    signal.SIGTERM: "SIGTERM: its process was asked to end",
    signal.SIGINT: "SIGINT: its process was interrupted, as by Ctrl-C",
}

#: Set by SIGTERM and SIGINT, for code that hears of them as a cancelled await.
_is_terminated = _is_interrupted = False


@contextmanager
def sigterm_ends_runs() -> Iterator[None]:
    """In the block, a SIGTERM that would kill this process raises :class:`Terminated` in the main thread instead."""
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not is_ours:
        yield
        return
    global _is_terminated, _is_interrupted
    _is_terminated = _is_interrupted = False  # a program may have caught an earlier one, and gone on
    signal.signal(signal.SIGTERM, _on_sigterm)
    # From Python 3.11 on `asyncio.run` takes it for itself, and tells it.
    notes_interrupt = sys.version_info < (3, 11) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if notes_interrupt:
        signal.signal(signal.SIGINT, _on_sigint)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if notes_interrupt and signal.getsignal(signal.SIGINT) is _on_sigint:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _on_sigterm(number: int, _: Any) -> None:
    global _is_terminated
    _is_terminated = True
    raise Terminated(128 + number)


def _on_sigint(number: int, frame: Any) -> None:
    global _is_interrupted
    _is_interrupted = True
    signal.default_int_handler(number, frame)


def signal_of(error: Optional[BaseException]) -> Optional[signal.Signals]:
    """The signal by which a run's code was ended, where it was."""
    if isinstance(error, Terminated):
        return signal.SIGTERM
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    if isinstance(error, asyncio.CancelledError):
        if _is_terminated:
            return signal.SIGTERM
        if _is_interrupted or _loop_was_interrupted():
            return signal.SIGINT
    return None


def cause_of(error: Optional[BaseException]) -> str:
    """Why the run whose code raised `error` has crashed; empty where it has not."""
    number = signal_of(error)
    return _CAUSES[number] if number is not None else ""


def _loop_was_interrupted() -> bool:
    """From Python 3.11 on `asyncio.run` takes SIGINT for itself, and cancels what it runs."""
    handler = signal.getsignal(signal.SIGINT)
    runner = getattr(getattr(handler, "func", None), "__self__", None)
    return bool(getattr(runner, "_interrupt_count", 0))


def end_others(error: BaseException) -> None:
    """Where `error` is of a signal, interrupts all runs of this process but those that called the present code."""
    number = signal_of(error)
    if number is None:
        return
    told = _interrupt.stop_others(_CAUSES[number])
    if told:
        ending = threading.Event()
        # What `concurrent.futures` uses to join its threads, which is before the main thread counts as ended.
        threading._register_atexit(ending.set)  # type: ignore[attr-defined] # pyright: ignore
        arguments = (ending, told, 128 + number)
        threading.Thread(target=_see_to_the_end, args=arguments, name="tidegate-end", daemon=True).start()


def _see_to_the_end(ending: threading.Event, told: set[int], code: int) -> None:
    """Ends the process without threads that hear no interrupt, such as one that sleeps: the interpreter would wait."""
    ending.wait()
    deadline = time.monotonic() + _STUCK_SECONDS
    for thread in threading.enumerate():
        if thread.ident in told and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                break
    else:
        return
    from . import _connection

    try:
        sys.stderr.write("tidegate: code that was told to stop goes on: the process ends without it\n")
        _connection.end()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
