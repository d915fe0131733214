"""What a worker says on standard error."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import Iterator

from ._settings import seconds

#: How often it says how it stands unless TIDEGATE_HEARTBEAT_LINE_SECONDS says otherwise.
_DEFAULT_LINE_SECONDS = 30.0


def say(line: str) -> None:
    """Writes a line."""
    sys.stderr.write(f"tidegate: {line}\n")
    sys.stderr.flush()


class Tally:
    """How the attempts of a worker have ended, and how many are about to: they are reported, and their hooks called."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._ends: dict[str, int] = {}
        self._n_ending = 0
        self._n_stuck = 0

    def stuck(self, n: int) -> None:
        """`n` more, or fewer, go on although they were told to stop and were reported without their end."""
        with self._lock:
            self._n_stuck += n

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Around the report of an end, and what follows it."""
        with self._lock:
            self._n_ending += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_ending -= 1
                self._lock.notify_all()

    def await_ends(self, seconds: float) -> None:
        """Waits, up to `seconds`, until none is about to end."""
        with self._lock:
            self._lock.wait_for(lambda: not self._n_ending, seconds)

    def add(self, end: str) -> None:
        """One has ended so, in the words of the core."""
        with self._lock:
            self._ends[end] = self._ends.get(end, 0) + 1

    def __str__(self) -> str:
        with self._lock:
            ends, n_stuck = dict(self._ends), self._n_stuck
        failed = ends.get("failed", 0) + ends.get("timed_out", 0)
        parts = [f"done {ends.get('completed', 0)}", f"failed {failed}"]
        parts += [f"{end} {ends[end]}" for end in ("crashed", "cancelled") if end in ends]
        if n_stuck:
            parts.append(f"told to stop and going on {n_stuck}")
        return ", ".join(parts)


def heartbeat_line_seconds() -> float:
    """How often it says how it stands; 0: never."""
    what = "how often a worker writes how it stands, or 0 for never"
    return seconds("TIDEGATE_HEARTBEAT_LINE_SECONDS", _DEFAULT_LINE_SECONDS, what)
