"""Attempts of queued runs whose code this process executes itself: in threads, and in an event loop."""

from __future__ import annotations

import threading
import traceback
from functools import partial
from typing import Any, Callable, Coroutine, Optional, Protocol

from . import _core, _dual, _execution, _timer, hooks
from ._interrupt import Control
from ._lazy import asyncio
from ._runtime import RunContext, facts_of
from ._worker_lines import Tally, say
from .errors import TidegateError
from .functions import Function

#: How long code that is out of time, and was interrupted, has before its end is reported without it, in seconds.
_TIMEOUT_GRACE_SECONDS = 5.0


def to_its_end(attempt: _core.Attempt, tally: Tally, execute: Callable[..., None], *arguments: Any) -> None:
    """Executes an attempt. Whatever fails beside its code is an end of it too, and seen by people."""
    try:
        execute(*arguments)
    except BaseException as error:
        _crash(attempt, tally, error)


async def to_its_end_async(attempt: _core.Attempt, tally: Tally, code: Coroutine[Any, Any, None]) -> None:
    """As :func:`to_its_end`."""
    try:
        await code
    except BaseException as error:
        _crash(attempt, tally, error)
        raise


def _crash(attempt: _core.Attempt, tally: Tally, error: BaseException) -> None:
    say(f"{attempt.kind} {attempt.name}, run {attempt.run_id}, crashed in the worker:")
    traceback.print_exception(type(error), error, error.__traceback__)
    attempt.start()
    attempt.finish("crashed", f"the worker failed at executing it: {type(error).__name__}: {_execution.text_of(error)}")
    tally.add("crashed")


class Place(Protocol):
    """Where the code of an attempt is executed, where that is to know how the code is stopped."""

    def executes(self, control: Control) -> None:
        """The code that `control` stops is executed there."""
        ...

    def wake(self) -> None:
        """The code was told to stop, and may be waiting for the system."""
        ...


class _Attempt:
    """One attempt on its way: what is the same for sync and async code."""

    def __init__(
        self, attempt: _core.Attempt, function: Function[Any, Any], tally: Tally, place: Optional[Place] = None
    ) -> None:
        self.attempt = attempt
        self.function = function
        self._tally = tally
        self._place = place
        self.control = Control(self._on_stop)
        if place is not None:
            place.executes(self.control)
        self._timer: Optional[_timer.Timer] = None
        self._lock = threading.Lock()
        self._has_ended = self._is_stuck = False
        self._watch = attempt.on_stop(self.control.stop)
        self.span = _core.Span(function.name, attempt.run_id, attempt.attempt, attempt.traceparent)
        self.context = RunContext(**facts_of(attempt, function, self.span.traceparent), pauser=attempt.pauser())
        attempt.start()

    def arguments(self) -> dict[str, Any]:
        """What the function is called with."""
        return _execution.arguments_of(self.function, self.attempt.parameters)

    def _on_stop(self, kind: str, _message: str, grace: float) -> None:
        """The code has been interrupted. Should it not end, say so without it."""
        if self._place is not None:
            self._place.wake()
        ends = {
            "cancel": (grace, "cancelled"),
            "timed_out": (_TIMEOUT_GRACE_SECONDS, "timed_out"),
            "lost": (_TIMEOUT_GRACE_SECONDS, "cancelled"),  # nothing is reported of it, but its slot is free again
        }
        if kind in ends and self._timer is None:
            seconds, end = ends[kind]
            self._timer = _timer.after(seconds, partial(self._begin_to_give_up, end))

    def _begin_to_give_up(self, end: str) -> None:
        if not hooks.has_end_hooks(self.function):
            return self._give_up(end)
        # They take the time that they take, and whoever else waits for a timer is not to wait for them.
        threading.Thread(target=self._give_up, args=(end,), name="tidegate-hooks", daemon=True).start()

    def _give_up(self, end: str) -> None:
        with self._tally.ending():
            with self._lock:
                if self._has_ended:
                    return
                self._is_stuck = True
                self._tally.stuck(1)
            heard = self.attempt.finish(end, hear=hooks.has_end_hooks(self.function))
            state = _dual.run(hooks.state_after(heard, self.control, self.attempt.run_id))
            if state is not None:
                hooks.run_hooks(self.function, self.context, state)

    def finish(self, outcome: _execution.Outcome) -> Optional[_core.Op]:
        """Reports the end; the operation tells the state for the hooks, where there are any."""
        with self._lock:
            self._has_ended = True
            if self._is_stuck:
                self._tally.stuck(-1)
        if self._timer is not None:
            self._timer.cancel()
        del self._watch
        self.control.forget()
        end = _execution.end_of(outcome, self.control, self.function.name, self.function.options)
        end = hooks.with_condition(end, self.function, self.context, outcome)
        self.span.end(None if end.end == "completed" else f"{end.end}: {end.first} {end.second}".strip(": "))
        heard = self.attempt.finish(*end, hear=hooks.has_end_hooks(self.function))
        self._tally.add(end.end)
        return heard

    def settle(self, outcome: _execution.Outcome) -> None:
        """Reports the end, and calls the hooks."""
        with self._tally.ending():
            heard = self.finish(outcome)
            state = _dual.run(hooks.state_after(heard, self.control, self.attempt.run_id))
            if state is not None:
                hooks.run_hooks(self.function, self.context, state, outcome)

    async def settle_async(self, outcome: _execution.Outcome) -> None:
        """As :meth:`settle`."""
        with self._tally.ending():
            heard = self.finish(outcome)
            state = await _dual.Pending(hooks.state_after(heard, self.control, self.attempt.run_id))
            if state is not None:
                await hooks.run_hooks_async(self.function, self.context, state, outcome)


def run(
    attempt: _core.Attempt, function: Function[Any, Any], tally: Tally, place: Optional[Place] = None
) -> None:
    """Executes sync code in this thread."""
    running = _Attempt(attempt, function, tally, place)
    try:
        arguments = running.arguments()
    except TidegateError as error:
        return running.settle(_execution.not_begun(error))
    running.settle(_execution.execute(function, arguments, running.context, running.control))


async def run_async(
    attempt: _core.Attempt, function: Function[Any, Any], tally: Tally, place: Optional[Place] = None
) -> None:
    """Executes async code in the running event loop."""
    running = _Attempt(attempt, function, tally, place)
    try:
        arguments = running.arguments()
    except TidegateError as error:
        return await running.settle_async(_execution.not_begun(error))
    try:
        outcome = await _execution.execute_async(function, arguments, running.context, running.control)
    except asyncio.CancelledError as error:  # nobody has cancelled this: its code has raised it
        outcome = _execution.Outcome("failed", error=error)
    await running.settle_async(outcome)
