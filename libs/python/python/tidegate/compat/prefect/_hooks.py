"""Hooks and retry conditions with the arguments that Prefect's users give them."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Iterable, Optional, Union
from uuid import UUID

from ..._runtime import RunContext, current_run
from ...states import State as TidegateState
from . import _objects, _states
from ._errors import translated
from ._states import State

#: What a hook may call its parameters, and what each of them gets.
_NAMES = {
    **dict.fromkeys(("flow", "task", "flow_or_task"), "function"),
    **dict.fromkeys(("run", "flow_run", "task_run", "fr", "tr"), "run"),
    **{name: name for name in ("state", "result", "exception", "parameters")},
}
_BY_POSITION = ("function", "run", "state")


class HookRun:
    """The run that a hook is called for. What this process does not know of it is asked of the server when it is needed."""

    def __init__(self, function: Any, context: RunContext, state: Optional[State]) -> None:
        self._read: Any = None
        self._run_id = context.run_id
        self.id = UUID(context.run_id)
        self.run_count = context.attempt
        self.tags = list(context.tags)
        self.parameters: dict[str, Any] = function.with_defaults(context.parameters)
        self.state = state

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._read is None:
            self._read = _objects.read(self._run_id)
        return getattr(self._read, name)

    def __repr__(self) -> str:
        return f"HookRun(id={str(self.id)!r}, state={self.state!r})"


class Hook:
    """A hook as Tidegate calls it: with all that it may ask for, by name."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        #: The hook as it was written.
        self.fn = fn
        self._asks_for = _parameters(fn)

    @property
    def __name__(self) -> str:
        return str(getattr(self.fn, "__name__", type(self.fn).__name__))

    def __call__(self, flow: Any, run: RunContext, state: TidegateState, result: Any, exception: Any, parameters: Any) -> Any:
        error = translated(exception) if exception is not None else None
        told = State(state.type, state.name, state.message or None, result if error is None else error)
        values = {
            "function": flow,
            "run": HookRun(flow, run, told),
            "state": told,
            "result": result,
            "exception": error,
            "parameters": parameters,
        }
        positional, by_name = self._asks_for
        return self.fn(*(values[what] for what in positional), **{name: values[what] for name, what in by_name.items()})


class WithTask:
    """A function of an option that is called with the task, too: each task has one of its own."""

    def __init__(self, fn: Callable[..., Any], task: Any = None) -> None:
        self.fn = fn
        #: The task that it is of.
        self.task = task

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.fn == self.fn

    def __hash__(self) -> int:
        return hash(self.fn)

    def __reduce__(self) -> Any:
        return type(self), (self.fn,)  # the task that has it when it arrives says so again


class RetryCondition(WithTask):
    """A `retry_condition_fn` that asks for task, run and state, as Tidegate calls it: with what was raised."""

    def __call__(self, exception: BaseException) -> Any:
        run = current_run()
        assert run is not None
        state = _states.of_error(translated(exception))
        return self.fn(self.task, HookRun(self.task, run, state), state)


Hooks = Union[Callable[..., Any], Iterable[Callable[..., Any]]]


def adapted(hooks: Hooks) -> list[Hook]:
    """Hooks as they were given, one or many, as Tidegate calls them."""
    many = [hooks] if callable(hooks) else list(hooks)
    return [hook if isinstance(hook, Hook) else Hook(hook) for hook in many]


def condition(fn: Callable[..., Any]) -> Any:
    """A retry condition of one argument, the exception, or of three."""
    return RetryCondition(fn) if not isinstance(fn, RetryCondition) and _takes(fn, 3) else fn


def _parameters(fn: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """What a hook is called with: by position, and by name."""
    if not callable(fn):
        raise TypeError(f"a hook is a function, not {fn!r}")
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # code that Python cannot look into
        return _BY_POSITION, {}
    needed = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if needed and all(p.name in _NAMES and p.kind is not p.POSITIONAL_ONLY for p in needed):
        named = [p.name for p in parameters if p.name in _NAMES]
        return (), {name: _NAMES[name] for name in named}
    for by_position in (_BY_POSITION, _BY_POSITION[1:]):
        if _takes(fn, len(by_position)):
            return by_position, {}
    names = ", ".join(p.name for p in parameters)
    raise TypeError(
        f"the hook {getattr(fn, '__name__', fn)}({names}) takes none of the forms of a hook: (flow, flow_run, state), "
        f"(flow_run, state), or any of {', '.join(_NAMES)} by these names"
    )


def _takes(fn: Callable[..., Any], n: int) -> bool:
    try:
        inspect.signature(fn).bind(*[None] * n)
    except (TypeError, ValueError):
        return False
    return True
