"""A run that a worker was given, and whose code a child executes."""

from __future__ import annotations

import pickle
from typing import Any

from .. import _core
from .._execution import End, Outcome, end_of
from .._interrupt import Control
from .._runtime import facts_of
from .._worker_lines import Tally, say
from ..functions import Function
from .death import Death
from .execution import Execution, log_death, next_number
from .pool import Pool
from .process import CannotStart
from .protocol import Assign, Done

class ProcessAttempt:
    """One attempt on its way. The lease and the reports are this process's, the code is the child's."""

    def __init__(self, attempt: _core.Attempt, function: Function[Any, Any], tally: Tally, pool: Pool) -> None:
        self._attempt = attempt
        self._function = function
        self._tally = tally
        self._pool = pool
        self._span = _core.Span(function.name, attempt.run_id, attempt.attempt, attempt.traceparent)

    def run(self) -> None:
        """Has it executed, and reports the end."""
        attempt = self._attempt
        try:
            # Where the process takes its time, the run counts as started, so that nobody else gets it meanwhile.
            process = self._pool.take(slow=attempt.start)
        except CannotStart as error:
            attempt.start()
            cause, _, details = str(error).partition("\n")
            return self._finish(self._crash(Death(cause, details)))
        facts = facts_of(attempt, self._function, self._span.traceparent)
        assign = Assign(next_number(), pickle.dumps(self._function), facts, attempt.parameters)
        execution = Execution(process, assign, attempt.pauser())
        control = Control(execution.stop)
        watch = attempt.on_stop(control.stop)
        attempt.start()
        ended = execution.run()
        del watch
        if isinstance(ended, Done):
            self._finish(ended.end)
            if self._function.kind == "task" and control.stopped is None:
                self._pool.give_back(process)
            else:
                self._pool.dismiss(process)
            return
        self._pool.discard(process)
        if control.stopped is not None:
            return self._finish(end_of(Outcome("stopped"), control, self._function.name))
        self._finish(self._crash(ended))

    def _crash(self, death: Death) -> End:
        attempt = self._attempt
        say(f"{attempt.kind} {attempt.name}, run {attempt.run_id}, crashed: {death.cause}")
        log_death(death, attempt.run_id, attempt.root_run_id, attempt.attempt, self._span.traceparent)
        return End("crashed", death.cause)

    def _finish(self, end: End) -> None:
        self._span.end(None if end.end == "completed" else f"{end.end}: {end.first} {end.second}".strip(": "))
        self._attempt.finish(*end)
        self._tally.add(end.end)
