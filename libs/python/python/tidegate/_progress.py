"""One line on a terminal that tells how far many runs are: of `.map()`, :func:`wait` and :func:`gather`.

It is written to standard error, only where that is a terminal and not by workers, and is gone when the last run has ended.
``TIDEGATE_PROGRESS=0`` turns it off.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Optional

if TYPE_CHECKING:
    from .futures import Future

#: How often the line is written, in seconds.
_EVERY_SECONDS = 0.1
_ERASE = "\r\x1b[2K"

_is_off = False


def turn_off() -> None:
    """Nothing is shown by this process and those that it starts: it is a worker."""
    global _is_off
    _is_off = True
    os.environ["TIDEGATE_PROGRESS"] = "0"


def _is_shown() -> bool:
    if _is_off or os.environ.get("TIDEGATE_PROGRESS") == "0" or os.environ.get("TERM") == "dumb":
        return False
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def follow(what: str, futures: Iterable[Future[Any]]) -> Optional[Group]:
    """Shows how far `futures` are until all have ended. Does not wait. None where nothing is shown."""
    if not _is_shown():
        return None
    futures = list(futures)
    group = begin(what, len(futures))
    if group is not None:
        group.running = lambda: sum(future._running and not future.done() for future in futures)
        for future in futures:
            future.add_done_callback(lambda future: group.one_ended(future._error is not None))
    return group


def begin(what: str, n: int) -> Optional[Group]:
    """Begins to show how far `n` runs are; None where nothing is shown."""
    if n < 2 or not _is_shown():
        return None
    group = Group(what, n)
    _line.add(group)
    return group


@contextmanager
def shown(group: Optional[Group]) -> Iterator[Optional[Group]]:
    """Around what shows `group`, which is gone after it."""
    try:
        yield group
    finally:
        if group is not None:
            group.end()


class Group:
    """Runs that are waited for together."""

    def __init__(self, what: str, n: int) -> None:
        self._what = what
        self._n = n
        self._n_done = 0
        self._n_failed = 0
        self._lock = threading.Lock()
        #: How many are running; None where that is not known.
        self.running: Any = None

    def one_ended(self, failed: bool) -> None:
        """One more has ended."""
        with self._lock:
            self._n_failed += failed
            self._n_done += not failed
            is_last = self._n_done + self._n_failed == self._n
        if is_last:
            self.end()

    def end(self) -> None:
        """It is shown no more."""
        _line.remove(self)

    def __str__(self) -> str:
        parts = [f"{self._n_done}/{self._n} done"]
        if self._n_failed:
            parts.append(f"{self._n_failed} failed")
        if self.running is not None:
            parts.append(f"{self.running()} running")
        return f"{self._what}: {', '.join(parts)}"


class _Line:
    """The line, which all groups share: the newest one is shown."""

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._lock = threading.Lock()
        self._has_writer = False

    def add(self, group: Group) -> None:
        with self._lock:
            self._groups.append(group)
            if not self._has_writer:
                self._has_writer = True
                threading.Thread(target=self._write, name="tidegate-progress", daemon=True).start()

    def remove(self, group: Group) -> None:
        with self._lock:
            if group in self._groups:
                self._groups.remove(group)
            if not self._groups:
                self._draw("")  # at once: what the program writes next is not to stand behind it

    def _write(self) -> None:
        while True:
            with self._lock:
                if not self._groups:
                    self._has_writer = False
                    return
                self._draw(str(self._groups[-1]))
            time.sleep(_EVERY_SECONDS)

    def _draw(self, text: str) -> None:
        global _is_off
        if _is_off:
            return
        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            sys.stderr.write(_ERASE + text[: width - 1])
            sys.stderr.flush()
        except (AttributeError, OSError, ValueError):  # the terminal is gone
            _is_off = True


_line = _Line()


def _forget_after_fork() -> None:
    global _line
    _line = _Line()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
