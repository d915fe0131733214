"""The options of Prefect's decorators as Tidegate's."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any, NamedTuple, Optional

from ...options import OPTION_NAMES, Options, checked_options
from ...runners import runner_of
from ._calls import current
from ._hooks import WithTask, adapted, condition

#: What they are called here.
_RENAMED = {"flow_run_name": "run_name", "task_run_name": "run_name"}
#: Of where and how Prefect keeps results; Tidegate keeps them at its server, for every process to read. And what only a
#: drawing of a flow would use.
_WITHOUT_EFFECT = frozenset({"result_storage", "result_storage_key", "cache_result_in_memory", "viz_return_value"})
_HOOKS = frozenset({"on_completion", "on_failure", "on_cancellation", "on_crashed", "on_running"})
_UNDO = frozenset({"on_rollback", "on_commit"})
_BOTH = frozenset(
    {"name", "description", "version", "retries", "retry_delay_seconds", "timeout_seconds", "log_prints"}
    | {"persist_result", "result_serializer"}
)

FLOW = _BOTH | _WITHOUT_EFFECT | _HOOKS | {"flow_run_name", "task_runner", "validate_parameters"}
TASK = (
    _BOTH
    | _WITHOUT_EFFECT
    | _HOOKS
    | _UNDO
    | {"task_run_name", "retry_jitter_factor", "retry_condition_fn", "tags"}
    | {"cache_policy", "cache_key_fn", "cache_expiration", "refresh_cache"}
)

#: Options that flows and tasks have as attributes, beside those that have one of their own.
SHOWN = frozenset(
    {"cache_expiration", "cache_key_fn", "cache_policy", "flow_run_name", "persist_result", "refresh_cache"}
    | {"result_serializer", "retry_condition_fn", "retry_jitter_factor", "task_run_name", "task_runner"}
)


def shown(options: Options, name: str) -> Any:
    """An option as it was given."""
    given = getattr(options, _RENAMED.get(name, name))
    return given.fn if isinstance(given, WithTask) else given


def checked(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """`given` without what says nothing; another option than those of Prefect is an error."""
    known = FLOW if kind == "flow" else TASK
    unknown = sorted(given.keys() - known)
    if unknown:
        raise TypeError(f"@{kind} has no option `{unknown[0]}` here; the options are {', '.join(sorted(known))}")
    return {name: value for name, value in given.items() if value is not None}


def own(base: Options, given: dict[str, Any]) -> tuple[Options, dict[str, Any]]:
    """`base` changed by those of `given` that are options of Tidegate alone, and the others.

    Functions that travel to another process tell it in such what was changed of them.
    """
    names = {name for name in given if name in OPTION_NAMES and name not in FLOW | TASK}
    changed = replace(base, **{name: given[name] for name in names})
    return changed, {name: value for name, value in given.items() if name not in names}


def options(base: Options, given: dict[str, Any]) -> Options:
    """`base`, changed by Prefect's options."""
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in _HOOKS:
            changes[name] = adapted(value)
        elif name not in _WITHOUT_EFFECT | _UNDO:
            changes[_RENAMED.get(name, name)] = value
    if "retry_condition_fn" in changes:
        changes["retry_condition_fn"] = condition(changes["retry_condition_fn"])
    delay = changes.get("retry_delay_seconds")
    if callable(delay):
        changes["retry_delay_seconds"] = delay(changes.get("retries", base.retries))
    if "retry_jitter_factor" in changes:
        # There it may be more than the delay itself.
        changes["retry_jitter_factor"] = min(1.0, changes["retry_jitter_factor"])
    if "tags" in changes:
        changes["tags"] = sorted(changes["tags"])
    make = changes.get("cache_key_fn")
    if make is not None and not isinstance(make, _CacheKeyFn):
        changes["cache_key_fn"] = _CacheKeyFn(make)
    if "cache_key_fn" in changes:
        changes.pop("cache_policy", None)  # the key goes before it
    if changes.get("persist_result") is False:
        for name in ("cache_policy", "cache_key_fn"):
            changes.pop(name, None)  # there is nothing that could serve other calls
    if "task_runner" in changes:
        changes["task_runner"] = runner_of(changes["task_runner"])
    return replace(base, **checked_options(changes))


def bound(options: Options, function: Any) -> Options:
    """`options` as those of `function`, which some of them are called with."""
    changes: dict[str, Any] = {
        name: type(given)(given.fn, function)
        for name in ("retry_condition_fn", "cache_key_fn")
        if isinstance(given := getattr(options, name), WithTask)
    }
    return replace(options, **changes)


class CallingRun(NamedTuple):
    """What is known of a task run before it is made."""

    #: The flow run that calls the task; None outside of any.
    flow_run_id: Optional[uuid.UUID]


class CacheKeyContext:
    """What a `cache_key_fn` is given first."""

    def __init__(self, task: Any, arguments: dict[str, Any]) -> None:
        execution = current("flow")
        #: The task.
        self.task = task
        #: What the task is called with.
        self.parameters = arguments
        #: The flow that calls it.
        self.flow: Any = execution.function if execution is not None else None
        run = execution.run if execution is not None else None
        #: The run that is to be.
        self.task_run = CallingRun(uuid.UUID(run.run_id) if run is not None else None)


class _CacheKeyFn(WithTask):
    """A `cache_key_fn` as Tidegate calls it."""

    def __call__(self, _: Any, arguments: dict[str, Any]) -> Optional[str]:
        arguments = self.task.with_defaults(arguments)
        key: Optional[str] = self.fn(CacheKeyContext(self.task, arguments), arguments)
        return key
