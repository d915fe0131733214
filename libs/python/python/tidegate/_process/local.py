"""Runs that this process started and reports, and whose code a child executes."""

from __future__ import annotations

import asyncio
import atexit
import os
import pickle
import threading
from typing import Any, Callable, Optional

from .._execution import Outcome
from .._interrupt import Control
from .._runtime import RunContext
from ..errors import Interrupted, PayloadError, RunCrashed
from ..functions import Function
from ..runners import n_processors
from .death import Death
from .execution import Execution, log_death, next_number
from .pool import Pool
from .process import CannotStart
from .protocol import Assign, Done


#: How long the code of a child has to end when that of its parent was interrupted, in seconds.
_LAST_WORDS_SECONDS = 2.0


class RemoteTraceback(Exception):
    """Where an exception was raised, in the process that executed the code."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"in the process that executed it:\n{self.text}"


def execute(
    function: Function[Any, Any],
    arguments: dict[str, Any],
    facts: dict[str, Any],
    begin: Callable[[], None],
    context: RunContext,
    control: Control,
) -> Outcome:
    """As :func:`tidegate._execution.execute`, by a child. Calls `begin` once there is one, or is none to be had."""
    pool = _pool()
    try:
        assign = assignment(function, arguments, facts)
        process = pool.take()
    except PayloadError as error:
        return Outcome("failed", error=error)
    except CannotStart as error:
        return _crashed(context, *_split(str(error)))
    except Interrupted as error:
        return Outcome("stopped", error=error)
    finally:
        begin()
    execution = Execution(process, assign, context._pauser)
    try:
        with control.elsewhere(execution.stop):
            ended = execution.run()
    except BaseException as error:  # the code that called this one is interrupted
        execution.tell_stop("cancel", "the run that called it was stopped", _LAST_WORDS_SECONDS)
        pool.dismiss(process, _LAST_WORDS_SECONDS)
        return Outcome("stopped" if isinstance(error, Interrupted) else "failed", error=error)
    if isinstance(ended, Done):
        if control.stopped is None:
            pool.give_back(process)
        else:
            pool.dismiss(process)
        return _outcome(ended)
    pool.discard(process)
    if control.stopped is not None:
        return Outcome("stopped", error=Interrupted())
    return _crashed(context, ended.cause, ended.stack)


async def execute_async(
    function: Function[Any, Any],
    arguments: dict[str, Any],
    facts: dict[str, Any],
    begin: Callable[[], None],
    context: RunContext,
    control: Control,
) -> Outcome:
    """As :func:`execute`, for who awaits it."""
    executing = asyncio.ensure_future(asyncio.to_thread(execute, function, arguments, facts, begin, context, control))
    try:
        return await asyncio.shield(executing)
    except asyncio.CancelledError:
        control.stop("cancel", "its caller does not await it any more", 1.0)
        await executing
        raise


def assignment(function: Function[Any, Any], arguments: dict[str, Any], facts: dict[str, Any]) -> Assign:
    """What to tell the child. Raises :class:`PayloadError`, which names what cannot travel."""
    try:
        reference = pickle.dumps(function)
    except Exception as error:
        raise PayloadError(str(error)) from None
    try:
        return Assign(next_number(), reference, facts, arguments=pickle.dumps(arguments))
    except Exception as error:
        for name, value in arguments.items():
            try:
                pickle.dumps(value)
            except Exception as cause:
                error = PayloadError(
                    f"the argument `{name}` of `{function.name}` is a {type(value).__name__} that cannot go to another "
                    f"process: {cause}; pass what it is made from (a path, an id, plain data), or execute "
                    f'`{function.name}` with execution="thread"'
                )
                break
        raise error from None


def returned(function: Function[Any, Any], outcome: Outcome) -> tuple[Outcome, bytes]:
    """In the child: what comes back to the caller, and its pickle."""
    try:
        pickled = pickle.dumps((outcome.how, outcome.value, outcome.error))
        pickle.loads(pickled)  # not every exception that can be written can be read
        return outcome, pickled
    except Exception as cause:
        if outcome.error is None:
            kind = type(outcome.value).__name__
            error: Exception = PayloadError(
                f"the result of `{function.name}` is a {kind} that cannot come back from its process: {cause}; return "
                f'what it is made from, or execute `{function.name}` with execution="thread"'
            )
            outcome = Outcome("failed", error=error)
        else:
            error = PayloadError(
                f"`{function.name}` raised {type(outcome.error).__name__}: {outcome.error} (the exception itself cannot "
                f"come back from its process: {cause})"
            )
        return outcome, pickle.dumps((outcome.how, None, error))


def _outcome(done: Done) -> Outcome:
    assert done.outcome is not None
    how, value, error = pickle.loads(done.outcome)
    if isinstance(error, BaseException) and done.end.third:
        error.__cause__ = RemoteTraceback(done.end.third)
    return Outcome(how, value, error, done.end)


def _crashed(context: RunContext, cause: str, stack: str) -> Outcome:
    log_death(Death(cause, stack), context.run_id, context.root_run_id, context.attempt, context.traceparent)
    message = f"run {context.run_id} ({context.name}) crashed: {cause}"
    return Outcome("crashed", value=cause, error=RunCrashed(message, context.run_id))


def _split(message: str) -> tuple[str, str]:
    first, _, rest = message.partition("\n")
    return first, rest


_lock = threading.Lock()
_made: Optional[Pool] = None


def _pool() -> Pool:
    """Of this process: its idle processes are warm for whatever is called next."""
    global _made
    with _lock:
        if _made is None:
            _made = Pool([], n_spares=0, max_idle=n_processors(), is_interruptible=True)
        return _made


def _close() -> None:
    if _made is not None:
        _made.close()


def _forget_after_fork() -> None:
    global _lock, _made
    _inherited.append(_made)  # the processes are the parent's
    _lock, _made = threading.Lock(), None


_inherited: list[Any] = []
atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
