"""``python -m tidegate.execute module:flow``, or ``path.py:flow``: executes one run for the worker of a work pool.

That worker starts it, and says by ``TIDEGATE_RUN_ID`` and ``TIDEGATE_RUN_EPOCH`` which run it is. The process has a stream
and a lease of its own and reports what becomes of the run, so that the run goes on while its worker is started again.

With ``TIDEGATE_COMPAT=prefect`` in its environment the code is written for Prefect, see :mod:`tidegate.compat.prefect`.

Exit codes: 0, the end was reported, whatever it is; 79, the run was taken away before it began; 1, it could not be asked
for; 2, the command line is wrong.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, Optional, Sequence

from . import _core, _execution, _logging
from .__main__ import functions_of
from ._attempt import run, run_async, to_its_end, to_its_end_async
from ._connection import client
from ._interrupt import Control
from ._lazy import asyncio
from ._worker_lines import Tally
from .errors import ServerUnavailable, TidegateError
from .functions import Function

#: The run was taken away: the worker of the pool knows it by this exit code.
TAKEN_AWAY = 79
#: How long the import of the code may take until the run counts as started, in seconds.
_START_AFTER_SECONDS = 10.0
#: How long a cancel may take to come after the SIGTERM with which the worker tells of it, in seconds.
_CANCEL_SECONDS = 1.0


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Executes the run; the exit code."""
    targets = sys.argv[1:] if arguments is None else list(arguments)
    run_id, epoch = os.environ.get("TIDEGATE_RUN_ID", ""), os.environ.get("TIDEGATE_RUN_EPOCH", "")
    if len(targets) != 1 or not run_id or not epoch.isdecimal():
        print(
            "usage: TIDEGATE_RUN_ID=… TIDEGATE_RUN_EPOCH=… python -m tidegate.execute module:flow\n"
            "The worker of a work pool starts it so; `tidegate worker start --pool POOL` is one.",
            file=sys.stderr,
        )
        return 2
    main_thread = _MainThread()
    try:
        worker = _core.Worker.executing(client(), run_id, int(epoch))
    except ServerUnavailable as error:
        print(f"tidegate: {error}", file=sys.stderr)
        return 1
    except TidegateError as error:
        print(f"tidegate: {error}", file=sys.stderr)
        return TAKEN_AWAY
    while (attempts := worker.next(0.5)) is not None:
        for attempt in attempts:
            _execute(attempt, targets[0], main_thread)
        if worker.stopped(0.0):
            return 0
    while not worker.stopped(0.5):
        pass
    return 0


def _execute(attempt: _core.Attempt, target: str, main_thread: _MainThread) -> None:
    tally = Tally()
    # Where the import takes its time, the run counts as started, so that nobody else gets it meanwhile.
    slow = threading.Timer(_START_AFTER_SECONDS, attempt.start)
    slow.daemon = True
    slow.start()
    try:
        function = _function(target)
    except BaseException as error:
        attempt.start()
        # What is wrong with the name of the code will be so at the next attempt; what the code raises may not.
        outcome = _execution.Outcome("failed", error=error, is_final=isinstance(error, TidegateError))
        end = _execution.end_of(outcome, Control(), attempt.name)
        attempt.finish(*end)
        print(f"tidegate: {target} cannot be executed: {end.first}: {end.second}", file=sys.stderr)
        return
    finally:
        slow.cancel()
    _logging.take_prints_alone()
    if function.is_async:
        code = run_async(attempt, function, tally, main_thread)
        asyncio.run(to_its_end_async(attempt, tally, code))
    else:
        to_its_end(attempt, tally, run, attempt, function, tally, main_thread)


def _function(target: str) -> Function[Any, Any]:
    """The flow or task that `target` names."""
    if os.environ.get("TIDEGATE_COMPAT") == "prefect":
        from .compat.prefect import install

        install()  # the code is written for Prefect
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise TidegateError(f"the entrypoint `{target}` is to be `module:flow` or `path.py:flow`")
    sys.path.insert(0, os.getcwd())
    return functions_of(f"{place}:{name}")[0]


class _MainThread:
    """The thread that executes the code: SIGTERM stops it, and wakes it where it waits for the system."""

    def __init__(self) -> None:
        self._control: Optional[Control] = None
        self._is_asked = False
        self._ident = threading.get_ident()
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def executes(self, control: Control) -> None:
        """The code that `control` stops is executed here."""
        self._control = control
        if self._is_asked:
            self._stop_soon()

    def wake(self) -> None:
        """The code was told to stop: a call that sleeps, or waits for the system, looks up."""
        signal.pthread_kill(self._ident, signal.SIGTERM)

    def _on_sigterm(self, _: int, __: Any) -> None:
        if self._is_asked or (self._control is not None and self._control.stopped is not None):
            return
        self._is_asked = True
        self._stop_soon()

    def _stop_soon(self) -> None:
        """The worker ends, or the run is cancelled. In the second case that is about to be told."""
        timer = threading.Timer(_CANCEL_SECONDS, self._stop)
        timer.daemon = True
        timer.start()

    def _stop(self) -> None:
        control = self._control
        if control is not None and control.stopped is None:
            control.stop("shutdown", "shutdown: SIGTERM asked its process to end", 0.0)


if __name__ == "__main__":
    sys.exit(main())
