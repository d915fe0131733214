"""What runs log, on the terminal, as who runs a Prefect script expects it."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import Iterator

from ..._logging import RunLogHandler, get_run_logger
from ..._runtime import current_run


class _Of(logging.Filter):
    """Adds of which run a line is."""

    def filter(self, record: logging.LogRecord) -> bool:
        run = current_run()
        record.of = f"{run.kind.capitalize()} run {run.name!r} - " if run is not None else ""
        return True


def show() -> None:
    """Writes the lines of runs to the standard error."""
    logger = logging.getLogger("tidegate.run")
    terminal = logging.StreamHandler()
    terminal.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d | %(levelname)-7s | %(of)s%(message)s", "%H:%M:%S"))
    terminal.setLevel(logging.INFO)
    terminal.addFilter(_Of())
    logger.addHandler(terminal)
    if not any(isinstance(handler, RunLogHandler) for handler in logger.handlers):
        logger.addHandler(RunLogHandler())
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def get_logger(name: str = "") -> logging.Logger:
    """A logger of that name; what it writes is of no run."""
    return logging.getLogger(f"prefect.{name}" if name else "prefect")


class _Silence:
    """The blocks in which no logger of runs writes; those of several threads overlap as they like."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_blocks = 0
        #: That of the loggers outside of all blocks.
        self._level = logging.NOTSET

    def enter(self) -> None:
        get_run_logger()  # the first one sets a level
        # By the level, which loggers that are made within a block have too.
        logger = logging.getLogger("tidegate.run")
        with self._lock:
            if self._n_blocks == 0:
                self._level = logger.level
                logger.setLevel(logging.CRITICAL + 1)
            self._n_blocks += 1

    def leave(self) -> None:
        with self._lock:
            self._n_blocks -= 1
            if self._n_blocks == 0:
                logging.getLogger("tidegate.run").setLevel(self._level)


_silence = _Silence()


@contextmanager
def disable_run_logger() -> Iterator[None]:
    """While the block runs, nothing is written by the loggers of runs, also of those in other threads."""
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()
