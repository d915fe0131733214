"""A run that a worker was given, and whose code a child executes."""

from __future__ import annotations

import pickle
from typing import Any, Optional

from .. import _core, _dual, hooks
from .._execution import End, Outcome, arguments_of, end_of
from .._interrupt import Control
from .._runtime import RunContext, facts_of
from .._worker_lines import Tally, say
from ..errors import TidegateError
from ..functions import Function
from ..states import State
from .death import Death
from .execution import Execution, log_death, next_number
from .pool import Pool
from .process import CannotStart, Process
from .protocol import Assign, Done


class ProcessAttempt:
    """One attempt on its way. The lease and the reports are this process's, the code is the child's."""

    def __init__(self, attempt: _core.Attempt, function: Function[Any, Any], tally: Tally, pool: Pool) -> None:
        self._attempt = attempt
        self._function = function
        self._tally = tally
        self._pool = pool
        self._control = Control()
        self._span = _core.Span(function.name, attempt.run_id, attempt.attempt, attempt.traceparent)

    def run(self) -> None:
        """Has it executed, and reports the end."""
        attempt = self._attempt
        try:
            # Where the process takes its time, the run counts as started, so that nobody else gets it meanwhile.
            process = self._pool.take(slow=attempt.start, is_fresh=self._function.kind == "flow")
        except CannotStart as error:
            attempt.start()
            cause, _, details = str(error).partition("\n")
            with self._tally.ending():
                return self._finish(self._crash(Death(cause, details)))
        try:
            self._execute(process)
        except BaseException:
            self._pool.discard(process)
            raise

    def _execute(self, process: Process) -> None:
        attempt = self._attempt
        facts = facts_of(attempt, self._function, self._span.traceparent)
        assign = Assign(next_number(), pickle.dumps(self._function), facts, attempt.parameters)
        execution = Execution(process, assign, attempt.pauser())
        control = self._control = Control(execution.stop)
        watch = attempt.on_stop(control.stop)
        if control.stopped is not None:  # cancelled, say, while its process started: none of its code is executed
            execution.abandon()
            self._pool.dismiss(process)
            with self._tally.ending():
                return self._finish(end_of(Outcome("stopped"), control, self._function.name))
        attempt.start()
        ended = execution.run()
        del watch
        with self._tally.ending():
            if isinstance(ended, Done):
                state = self._report(ended.end)
                if hooks.has_end_hooks(self._function):
                    if not execution.settle(state, hooks.limit_of_end(self._function, state)):
                        return self._end_hooks(process)
                if self._function.kind == "task" and control.stopped is None:
                    self._pool.give_back(process)
                else:
                    self._pool.dismiss(process)
                return
            self._pool.discard(process)
            if control.stopped is not None:
                return self._finish(end_of(Outcome("stopped"), control, self._function.name))
            self._finish(self._crash(ended))

    def _end_hooks(self, process: Process) -> None:
        """They hear no interrupt, or have ended their process: the run is what its code has made it."""
        attempt = self._attempt
        how = "have ended their process" if process.has_ended() else "did not end when they were to, so their process was ended"
        death = Death(f"the hooks of the run {how}", process.abort())
        self._pool.discard(process)
        say(f"{attempt.kind} {attempt.name}, run {attempt.run_id}: {death.cause}")
        log_death(death, attempt.run_id, attempt.root_run_id, attempt.attempt, self._span.traceparent)

    def _crash(self, death: Death) -> End:
        attempt = self._attempt
        say(f"{attempt.kind} {attempt.name}, run {attempt.run_id}, crashed: {death.cause}")
        log_death(death, attempt.run_id, attempt.root_run_id, attempt.attempt, self._span.traceparent)
        return End("crashed", death.cause)

    def _finish(self, end: End) -> None:
        """Reports the end of a run whose process is dead, and calls its hooks in the place of that."""
        state = self._report(end)
        if state is None:
            return
        context = RunContext(**facts_of(self._attempt, self._function, self._span.traceparent))
        try:
            context.parameters = arguments_of(self._function, self._attempt.parameters)
        except TidegateError:
            pass  # what it died of has nothing to do with them
        hooks.run_hooks(self._function, context, state)

    def _report(self, end: End) -> Optional[State]:
        """Reports the end; the state of the run after it, where there are hooks for one."""
        self._span.end(None if end.end == "completed" else f"{end.end}: {end.first} {end.second}".strip(": "))
        heard = self._attempt.finish(*end, hear=hooks.has_end_hooks(self._function))
        self._tally.add(end.end)
        return _dual.run(hooks.state_after(heard, self._control, self._attempt.run_id))
