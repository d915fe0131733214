"""Code that is called when a run enters a state, and code that decides whether a failure is retried.

Hooks are called in the process of the run once the server has taken the state, or, where that process has died, in the
worker's. What they raise is written to the run's log and changes nothing.
"""

from __future__ import annotations

import contextvars
import inspect
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional, Sequence, Union

from . import _core, _settings, _timer
from ._connection import client
from ._dual import Steps
from ._interrupt import Control, raise_missed
from ._lazy import asyncio
from ._logging import get_run_logger
from ._runtime import RunContext, _current
from .errors import Interrupted, InvalidArgument, RunCancelled, RunCrashed, RunFailed, WaitTimeout
from .states import State

if TYPE_CHECKING:
    from ._execution import End, Outcome
    from .functions import Function
    from .options import Options

#: The options that name hooks, by the type of the state that calls them.
OPTIONS = {
    "RUNNING": "on_running",
    "COMPLETED": "on_completion",
    "FAILED": "on_failure",
    "CRASHED": "on_crashed",
    "CANCELLING": "on_cancellation",
    "CANCELLED": "on_cancellation",
}
#: What a hook may ask for by the names of its parameters.
_NAMES = ("flow", "task", "run", "state", "result", "exception", "parameters")

#: How long one hook may take, in seconds, unless the variable says otherwise.
_LIMIT_SECONDS = 300.0
_LIMIT = "TIDEGATE_HOOK_SECONDS"
#: How long a process has to say that its hooks have ended, or were interrupted, in seconds.
_LAST_WORDS_SECONDS = 5.0

Hooks = Union[Callable[..., Any], Sequence[Callable[..., Any]]]


class Hook(NamedTuple):
    """A hook, and how it is called."""

    fn: Callable[..., Any]
    #: What it asks for; None: three positional arguments.
    names: Optional[tuple[str, ...]]


def prepared(options: Options, function: str) -> dict[str, tuple[Hook, ...]]:
    """The hooks of a function by their option. Raises what is wrong with one."""
    found = {}
    for option in set(OPTIONS.values()):
        given = getattr(options, option)
        hooks = (given,) if callable(given) else tuple(given or ())
        if hooks:
            limit_seconds()  # a wrong one is told here
            found[option] = tuple(_prepared(option, hook, function) for hook in hooks)
    return found


def limit_seconds() -> float:
    """How long one hook may take; 0: as long as it likes."""
    return _settings.seconds(_LIMIT, _LIMIT_SECONDS, "how long a hook may take, or 0 for any time")


def limit_of_end(function: Function[Any, Any], state: Optional[State]) -> Optional[float]:
    """How long the hooks of `function` for `state` may take, in seconds; None: as long as they like."""
    limit = limit_seconds()
    hooks = function._hooks.get(OPTIONS.get(state.type, ""), ()) if state is not None else ()
    return limit * len(hooks) + _LAST_WORDS_SECONDS if limit else None


def has_hooks(function: Function[Any, Any], *state_types: str) -> bool:
    """True where one of these states calls a hook of `function`."""
    return bool(function._hooks) and any(OPTIONS.get(each) in function._hooks for each in state_types)


def has_end_hooks(function: Function[Any, Any]) -> bool:
    """True where some end of a run calls a hook of `function`."""
    return any(option != "on_running" for option in function._hooks)


def state_after(heard: Optional[_core.Op], control: Control, run_id: str) -> Steps[Optional[State]]:
    """The state that a report has led to, as the operation `heard` tells it; None where the run is another's by now."""
    if heard is None:
        return None
    state: Optional[tuple[str, str, str]] = yield heard
    if state is None and control.stopped is not None:
        # A cancel that came before the server had heard of the start has ended the run at once.
        run: _core.Run = yield client().peek_run(run_id)
        state = run.state if run.state[0] == "CANCELLED" else None
    return State(*state) if state is not None else None


def run_hooks(
    function: Function[Any, Any], run_info: RunContext, state: State, outcome: Optional[Outcome] = None
) -> None:
    """Calls the hooks of `function` for `state`, one after the other. `outcome` is how the code has ended, where that is
    known; the loggers of the hooks write to the run of `run_info`."""
    if not has_hooks(function, state.type):
        return
    token = _current.set(run_info)
    try:
        for hook in function._hooks[OPTIONS[state.type]]:
            try:
                _within_limit(lambda: finished(_called(hook, function, run_info, state, outcome), limit_seconds()))
            except Exception:
                _tell(hook, state)
    finally:
        _current.reset(token)


async def run_hooks_async(
    function: Function[Any, Any], run_info: RunContext, state: State, outcome: Optional[Outcome] = None
) -> None:
    """As :func:`run_hooks` in an event loop, which sync hooks do not block."""
    if not has_hooks(function, state.type):
        return
    token = _current.set(run_info)
    try:
        for hook in function._hooks[OPTIONS[state.type]]:
            try:
                call = partial(_called, hook, function, run_info, state, outcome)
                answer = await asyncio.to_thread(_within_limit, call)
                if inspect.isawaitable(answer):
                    await _bounded(answer, limit_seconds())
            except Exception:
                _tell(hook, state)
    finally:
        _current.reset(token)


def _within_limit(call: Callable[[], Any]) -> Any:
    """`call()`, which is interrupted when it takes longer than a hook may."""
    seconds = limit_seconds()
    if not seconds:
        return call()
    control = Control(ends_with_process=False)
    timer = _timer.after(seconds, lambda: control.stop("timed_out", "", 0.0))
    try:
        with control.thread():
            return call()
    except Interrupted as error:
        if control.stopped is None:  # it is the run's own
            raise
        raise WaitTimeout(_too_long(seconds)) from error
    finally:
        timer.cancel()
        raise_missed()


async def _bounded(answer: Any, seconds: float) -> Any:
    try:
        return await asyncio.wait_for(answer, seconds or None)
    except asyncio.TimeoutError as error:
        raise WaitTimeout(_too_long(seconds)) from error


def _too_long(seconds: float) -> str:
    return f"it did not end within {seconds:g} s and was interrupted; if it needs longer, say so by {_LIMIT}"


def finished(answer: Any, seconds: float = 0.0) -> Any:
    """`answer`, or what comes of it where it is a coroutine: in an event loop of its own, within so many seconds unless it is
    0."""
    if not inspect.iscoroutine(answer):
        return answer
    if seconds:
        answer = _bounded(answer, seconds)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(answer)
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.extend((asyncio.run(answer), None))
        except BaseException as error:
            ended.extend((None, error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="tidegate-hook")
    thread.start()
    thread.join()
    value, error = ended
    if error is not None:
        raise error
    return value


def check_condition(condition: Callable[..., Any], function: str) -> int:
    """With how many arguments a `retry_condition_fn` is called: 1 or 3."""
    for n in (3, 1):
        if _takes(condition, n):
            return n
    raise InvalidArgument(
        f"retry_condition_fn of `{function}` is called with the exception, or with (task, run, state), but "
        f"`{_name(condition)}{_parameters(condition)}` takes neither one nor three arguments: give it one of these forms"
    )


def with_condition(end: End, function: Function[Any, Any], run_info: RunContext, outcome: Outcome) -> End:
    """`end`, not to be retried where `retry_condition_fn` says so."""
    condition = function.options.retry_condition_fn
    if condition is None or end.end != "failed" or end.non_retryable:
        return end
    error = outcome.error
    token = _current.set(run_info)
    try:
        if check_condition(condition, function.name) == 1:
            answer = condition(error)
        else:
            answer = condition(function, run_info, State("FAILED", "Failed", f"{end.first}: {end.second}"))
        is_retried = bool(finished(answer))
    except Exception:
        get_run_logger("tidegate.hooks").exception("retry_condition_fn `%s` raised: no retry", _name(condition))
        is_retried = False
    finally:
        _current.reset(token)
    return end if is_retried else end._replace(non_retryable=True)


def _prepared(option: str, hook: Any, function: str) -> Hook:
    if not callable(hook):
        raise InvalidArgument(f"{option} of `{function}` is to be a function or a list of functions, not {hook!r}")
    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):  # code that Python cannot look into
        return Hook(hook, None)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if all(p in named and p.name in _NAMES for p in needed):
        if needed or not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            return Hook(hook, tuple(p.name for p in named if p.name in _NAMES))
    if _takes(hook, 3):
        return Hook(hook, None)
    raise InvalidArgument(
        f"{option} of `{function}` cannot call its hook `{_name(hook)}{_parameters(hook)}`: a hook takes any of "
        f"{', '.join(_NAMES)} by these names, or three positional arguments (flow_or_task, run, state); rename its "
        f"parameters, such as `def {_name(hook)}({_example(option)})`"
    )


def _example(option: str) -> str:
    """Parameters that a hook of this option is likely to want."""
    return {"on_completion": "run, result", "on_failure": "run, exception"}.get(option, "run, state")


def _called(
    hook: Hook, function: Function[Any, Any], run: RunContext, state: State, outcome: Optional[Outcome]
) -> Any:
    if hook.names is None:
        return hook.fn(function, run, state)
    values: dict[str, Any] = {
        "flow": function,
        "task": function,
        "run": run,
        "state": state,
        "result": outcome.value if outcome is not None else None,
        "exception": _exception(run, state, outcome),
        "parameters": run.parameters,
    }
    return hook.fn(**{name: values[name] for name in hook.names})


def _exception(run: RunContext, state: State, outcome: Optional[Outcome]) -> Optional[BaseException]:
    if outcome is not None and isinstance(outcome.error, Exception):
        return outcome.error
    what = f"run {run.run_id} ({run.name})"
    message = state.message or state.name
    if state.type == "FAILED":
        return RunFailed(f"{what} failed: {message}", run.run_id, state.name, message)
    if state.type == "CRASHED":
        return RunCrashed(f"{what} crashed: {message}", run.run_id)
    if state.type in ("CANCELLED", "CANCELLING"):
        return RunCancelled(f"{what} was cancelled: {message}", run.run_id)
    return None


def _tell(hook: Hook, state: State) -> None:
    get_run_logger("tidegate.hooks").exception("the hook `%s` for %s raised", _name(hook.fn), state.type)


def _takes(fn: Callable[..., Any], n: int) -> bool:
    try:
        inspect.signature(fn).bind(*[None] * n)
    except TypeError:
        return False
    except ValueError:  # code that Python cannot look into
        return True
    return True


def _name(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__name__", None) or type(fn).__name__)


def _parameters(fn: Callable[..., Any]) -> str:
    try:
        return f"({', '.join(inspect.signature(fn).parameters)})"
    except (TypeError, ValueError):
        return "(…)"
