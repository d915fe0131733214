"""What runs log, on the terminal, as who runs a Prefect script expects it."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import Iterator

from ..._logging import RunLogHandler
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


@contextmanager
def disable_run_logger() -> Iterator[None]:
    """While the block runs, nothing is written by the loggers of runs."""
    logger = logging.getLogger("tidegate.run")
    logger.disabled, was = True, logger.disabled
    children = [found for name, found in logger.manager.loggerDict.items() if name.startswith("tidegate.run.")]
    try:
        for child in children:
            if isinstance(child, logging.Logger):
                child.disabled = True
        yield
    finally:
        logger.disabled = was
        for child in children:
            if isinstance(child, logging.Logger):
                child.disabled = was
