"""Executing code: that of a local run, which this process starts and reports, or of an attempt that a worker was given."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from . import _payload, _shutdown, hooks
from ._interrupt import Control
from ._lazy import asyncio
from ._runtime import RunContext, _current
from .errors import Interrupted, NonRetryable, ParameterError, PayloadError, TidegateError, _type_name
from .futures import Future
from .states import State

if TYPE_CHECKING:
    from .functions import Function
    from .options import Options

#: How long an interrupted run waits for its children, which are interrupted as well, in seconds.
_LAST_WORDS_SECONDS = 10.0


class Outcome(NamedTuple):
    """How the code of an attempt ended."""

    #: ``completed``, ``failed``, ``stopped`` or ``crashed``; the last with the cause as its value.
    how: str
    value: Any = None
    error: Optional[BaseException] = None
    #: What to report of it, where another process has found that out already.
    end: Optional[End] = None
    #: A further attempt would end in the same way.
    is_final: bool = False
    #: What the code of a completed run says of its end.
    message: str = ""


def not_begun(error: TidegateError) -> Outcome:
    """Of a queued run whose arguments could not be read: what does not fit now will not do so at the next attempt."""
    return Outcome("failed", error=error, is_final=True)


def execute(function: Function[Any, Any], arguments: Any, context: RunContext, control: Control) -> Outcome:
    """Executes sync code in this thread, and waits for what it submitted."""
    token = _current.set(context)
    context.parameters = arguments
    try:
        try:
            with control.thread():
                hooks.run_hooks(function, context, State("RUNNING", "Running"))
                try:
                    value = function.call_with(arguments)
                except Exception:
                    _wait_for_children(context)
                    raise
                _check_children(function, context)
                return Outcome("completed", value, message=context._said)
        except Interrupted as error:
            context._close(cancel=True)
            _wait_for_children(context, _LAST_WORDS_SECONDS)
            return Outcome("stopped", error=error)
        except BaseException as error:
            context._close(cancel=not isinstance(error, Exception))  # such as KeyboardInterrupt
            if _shutdown.signal_of(error) is not None:
                _shutdown.end_others(error)
                _wait_for_children(context, _LAST_WORDS_SECONDS)
            return Outcome("failed", error=error)
    finally:
        control.release()
        context._close()
        context._is_over = True
        _current.reset(token)


async def execute_async(
    function: Function[Any, Any], arguments: Any, context: RunContext, control: Control
) -> Outcome:
    """As :func:`execute`, for async code."""

    async def code() -> Any:
        await hooks.run_hooks_async(function, context, State("RUNNING", "Running"))
        try:
            value = await function.call_with(arguments)
        except BaseException as error:
            _shutdown.end_others(error)
            raise
        finally:
            for child in context._children_so_far():
                await child._ended()
        _check_children(function, context)
        return value

    token = _current.set(context)
    context.parameters = arguments
    try:
        value = await control.run(code())
        return Outcome("completed", value, message=context._said)
    except Interrupted as error:
        return Outcome("stopped", error=error)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return Outcome("failed", error=error)
    finally:
        context._close()
        context._is_over = True
        _current.reset(token)


def arguments_of(function: Function[Any, Any], parameters: Optional[tuple[str, bytes]]) -> dict[str, Any]:
    """What a queued run is called with; what it raises is for :func:`not_begun`."""
    try:
        return function.arguments_of(_payload.decode(parameters, f"the arguments of `{function.name}`"))
    except TidegateError:
        raise
    except Exception as error:  # by a check of the user's own, such as a validator of a model
        message = f"the arguments of `{function.name}` cannot be checked: {type(error).__name__}: {text_of(error)}"
        raise ParameterError(message) from error


def _wait_for_children(context: RunContext, seconds: Optional[float] = None) -> None:
    deadline = None if seconds is None else time.monotonic() + seconds
    for child in context._children_so_far():
        child._wait(None if deadline is None else max(0.0, deadline - time.monotonic()))


def _check_children(function: Function[Any, Any], context: RunContext) -> None:
    """A run does not end before the work it submitted, and is not completed over failures that nobody looked at."""
    _wait_for_children(context)
    check_unseen(function, context._take_children())


def check_unseen(function: Function[Any, Any], children: list[Future[Any]]) -> None:
    """Raises when some of these, which have ended, failed and nobody looked at that."""
    if function.options.on_unawaited_failure == "ignore":
        return
    failed = [child for child in children if child._error is not None and not child._seen]
    if failed:
        first = failed[0]._error
        names = ", ".join(f"{child.name} ({child.id})" if child.id else child.name for child in failed[:10])
        more = f" and {len(failed) - 10} more" if len(failed) > 10 else ""
        what = "1 submitted run failed and nobody asked for its result"
        if len(failed) > 1:
            what = f"{len(failed)} submitted runs failed and nobody asked for their results"
        raise TidegateError(
            f"{what}: {names}{more}. Ask each future for its result(), or let `{function.name}` have "
            f'on_unawaited_failure="ignore". The first failure: {type(first).__name__}: {first}'
        ) from first


class End(NamedTuple):
    """The end of an attempt, as the core's `finish` wants it."""

    end: str
    first: str = ""
    second: str = ""
    third: str = ""
    data: bytes = b""
    non_retryable: bool = False


def end_of(outcome: Outcome, control: Control, name: str, options: Optional[Options] = None) -> End:
    """What to report of an attempt; `options` say how its result is kept."""
    if outcome.end is not None:
        return outcome.end
    if outcome.how == "crashed":
        return End("crashed", outcome.value)
    if outcome.how == "stopped":
        if control.stopped is None:
            return End("crashed", "the run that called it was stopped")
        kind = control.stopped[0]
        if kind == "timed_out":
            return End("timed_out")
        if kind == "shutdown":
            return End("crashed", control.stopped[1] or "shutdown: the worker ended before the run did")
        return End("cancelled")
    error, is_final = outcome.error, outcome.is_final
    if error is None:
        try:
            encoding, data = _payload.encode_result(outcome.value, name, options)
            return End("completed", encoding, outcome.message, data=data)
        except PayloadError as unencodable:
            error, is_final = unencodable, True
    if cause := _shutdown.cause_of(error):
        return End("crashed", cause)
    return End(
        "failed",
        "" if getattr(error, "_is_state", False) else _type_name(type(error)),
        text_of(error),
        "".join(traceback.format_exception(type(error), error, error.__traceback__)),
        non_retryable=is_final or isinstance(error, NonRetryable) or not isinstance(error, Exception),
    )


def text_of(error: BaseException) -> str:
    """What an exception says; one whose own code fails at that says nothing, and is reported all the same."""
    try:
        return str(error) or repr(error)
    except Exception as cause:
        return f"(its text cannot be had: {type(cause).__name__} in its __str__)"
