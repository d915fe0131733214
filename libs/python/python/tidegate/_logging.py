"""What a run writes goes to the server under its id and attempt."""

from __future__ import annotations

import builtins
import logging
import os
from typing import Any, Union

from . import _connection
from ._runtime import current_run

#: Python's levels as those of the protocol, which are OpenTelemetry's.
_LEVELS = ((logging.CRITICAL, 21), (logging.ERROR, 17), (logging.WARNING, 13), (logging.INFO, 9), (logging.DEBUG, 5))
_print = builtins.print
_prints_taken = False
_prints_are_seen = True


def get_run_logger(name: str = "") -> Union[logging.Logger, logging.LoggerAdapter[Any]]:
    """A logger whose lines are kept with the run that calls it.

    Each line goes to the run that is current where it is written, and on to the handlers of the program.
    """
    run = current_run()
    base = logging.getLogger("tidegate.run")
    if not any(isinstance(handler, RunLogHandler) for handler in base.handlers):
        base.addHandler(RunLogHandler())
        base.setLevel(logging.DEBUG)
    return base.getChild(name or (run.name if run else "none"))


class RunLogHandler(logging.Handler):
    """Sends records to the server, under the run in which they were written. Outside of a run it does nothing.

    To keep the lines of other loggers too, name them in the environment (``TIDEGATE_EXTRA_LOGGERS=sqlalchemy,my.module``), or
    add it to them: ``logging.getLogger("sqlalchemy").addHandler(RunLogHandler())``. What their levels let through is kept.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits: what comes faster than it can be sent is dropped and counted."""
        try:
            level = next((ours for theirs, ours in _LEVELS if record.levelno >= theirs), 1)
            name = record.name.removeprefix("tidegate.run.")
            write(level, name, self.format(record))
        except Exception:
            self.handleError(record)


def take_extra_loggers() -> None:
    """Keeps the lines of the loggers that the environment names, of those below them as well."""
    for name in os.environ.get("TIDEGATE_EXTRA_LOGGERS", "").split(","):
        if name.strip():
            logger = logging.getLogger(name.strip())
            if not any(isinstance(handler, RunLogHandler) for handler in logger.handlers):
                logger.addHandler(RunLogHandler())


def write(level: int, logger: str, message: str) -> None:
    """Writes a line under the current run, if there is one."""
    run = current_run()
    if run is not None:
        _connection.client().log(
            run_id=run.run_id,
            root_run_id=run.root_run_id,
            attempt=run.attempt,
            level=level,
            logger=logger,
            message=message,
            traceparent=run.traceparent,
        )


def take_prints() -> None:
    """From now on, what a run with `log_prints` prints goes to its log as well."""
    global _prints_taken
    if not _prints_taken:
        _prints_taken = True
        builtins.print = _print_and_log


def take_prints_alone() -> None:
    """The log has what this process writes anyway: of what `log_prints` puts there, there is no second line."""
    global _prints_are_seen
    _prints_are_seen = False


def _print_and_log(*values: object, **options: Any) -> None:
    run = current_run()
    # Only what goes to standard output is of the run; a print into a file is not.
    is_logged = run is not None and run._log_prints and options.get("file") is None
    if _prints_are_seen or not is_logged:
        _print(*values, **options)
    if is_logged:
        separator = options.get("sep")
        write(9, "print", (" " if separator is None else separator).join(map(str, values)))
