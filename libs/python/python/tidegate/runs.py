"""Runs that are there already: to be found, awaited, cancelled and resumed, from sync and async code alike.

In plain code each of these blocks and gives its value; where an event loop runs it gives an awaitable of it.
"""

from __future__ import annotations

import uuid
from typing import Any, Iterable, Mapping, Optional, Union

from . import _core, _payload, pausing
from ._connection import client
from ._dual import Steps, Within, answer, deadline, dual
from .errors import InvalidArgument, NotFound
from .handles import RunHandle
from .handles import get_run as _handle

#: Runs of one page.
_PAGE = 1_000
_STATES = (
    "SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"
)  # fmt: skip

RunId = Union[str, uuid.UUID, RunHandle[Any]]


def find_runs(
    filter: str = "",
    *,
    tags: Union[str, Iterable[str]] = (),
    labels: Optional[Mapping[str, str]] = None,
    name: str = "",
    state: Union[str, Iterable[str]] = (),
    parent: Optional[RunId] = None,
    idempotency_key: str = "",
    limit: int = 100,
) -> Any:
    """The newest runs that fit all that is said, as a list of handles.

    :param filter: in the language of `tidegate run ls --filter`: ``'kind = TASK created_at > -1h'``.
    :param tags: they have all of these.
    :param labels: they have all of these.
    :param name: the name of the flow or task; a star stands for any text, as in ``etl*``.
    :param state: one of these types: ``"RUNNING"``, ``["FAILED", "CRASHED"]``.
    :param parent: they were started by this run.
    :param idempotency_key: the one that was created with this key. With `name` or `parent`, which it is unique in.
    :param limit: at most so many. 0: all.
    """
    if limit < 0:
        raise InvalidArgument(f"limit is {limit}: give a number from 1, or 0 for all")
    if idempotency_key:
        return dual(_find_by_key(idempotency_key, name, parent))
    terms = [f"({filter})"] if filter.strip() else []
    terms += [f"tags:{_quoted(tag)}" for tag in ([tags] if isinstance(tags, str) else tags)]
    terms += [f"labels.{key} = {_quoted(value)}" for key, value in (labels or {}).items()]
    if name:
        terms.append(f"name = {_quoted(name, stars=True)}")
    states = [_state(each) for each in ([state] if isinstance(state, str) else state)]
    if states:
        terms.append(f"state = ({' OR '.join(states)})" if len(states) > 1 else f"state = {states[0]}")
    if parent is not None:
        terms.append(f"parent_run_id = {_quoted(handle_of(parent).id)}")
    return dual(_find(" AND ".join(terms), limit))


def wait_for_flow_run(run: RunId, timeout: Optional[float] = None) -> Any:
    """Waits for the end of a flow run, however it ends, and gives the run. `timeout` in seconds raises
    :class:`WaitTimeout`; the id of something else is an error at once."""
    return dual(_wait(run, "flow", timeout))


def wait_for_task_run(run: RunId, timeout: Optional[float] = None) -> Any:
    """As :func:`wait_for_flow_run`, for a task run."""
    return dual(_wait(run, "task", timeout))


def cancel_run(run: RunId, reason: str = "") -> Any:
    """Cancels a run and its descendants; how many that were."""
    return dual(_one(client().cancel(handle_of(run).id, reason)))


def pause_run(
    run: Optional[RunId] = None, timeout: Optional[float] = None, reason: str = "", *, key: str = "pause", type: Any = None
) -> Any:
    """Has a queued run wait until it is resumed; with `timeout`, it fails after so many seconds.

    Without `run`: the current one, as by :func:`pause`, or, with `type`, by :func:`wait_for_input`.
    """
    return _pause(run, timeout, reason, key, type, suspend=False)


def suspend_run(
    run: Optional[RunId] = None, timeout: Optional[float] = None, reason: str = "", *, key: str = "pause", type: Any = None
) -> Any:
    """As :func:`pause_run`, and without `run` as :func:`suspend`: the worker is given back meanwhile."""
    return _pause(run, timeout, reason, key, type, suspend=True)


def _pause(
    run: Optional[RunId], timeout: Optional[float], reason: str, key: str, type: Any, *, suspend: bool
) -> Any:
    if run is not None:
        return dual(_one(client().pause(handle_of(run).id, timeout, reason)))
    if type is not None:
        return pausing.wait_for_input(key, type, request=reason or None, timeout=timeout, suspend=suspend)
    wait = pausing.suspend if suspend else pausing.pause
    return wait(key, request=reason or None, timeout=timeout)


def resume_run(run: RunId, value: Any = None) -> Any:
    """Has a paused run go on; `value` is what its `pause()` or `wait_for_input()` gives."""
    run_id = handle_of(run).id
    encoded = None if value is None else _payload.encode(value, f"what run {run_id} is resumed with")
    return dual(_one(client().resume(run_id, encoded)))


def retry_run(run: RunId, reason: str = "") -> Any:
    """Has a queued run that has ended executed once more; a handle that is given waits for the end of that attempt from then
    on."""
    handle = handle_of(run)
    return dual(answer(client().retry(handle.id, reason), lambda _: handle._forget_end()))


def handle_of(run: RunId) -> RunHandle[Any]:
    """The handle of a run that is named by its id or a handle."""
    return run if isinstance(run, RunHandle) else _handle(str(run))


def _one(op: _core.Op) -> Steps[Any]:
    value = yield op
    return value


def _wait(run: RunId, kind: str, timeout: Optional[float]) -> Steps[Any]:
    handle = handle_of(run)
    until = deadline(timeout)
    try:
        peeked: _core.Run = yield client().peek_run(handle.id)
    except NotFound:
        raise NotFound(
            f"there is no {kind} run {handle.id}: give the id of a run, as a handle, `run.id` or `tidegate run ls` has it; the "
            "id of a flow or deployment is no such id"
        ) from None
    if peeked.kind != kind:
        other = "task" if kind == "flow" else "flow"
        raise InvalidArgument(
            f"run {handle.id} ({peeked.name}) is a {other} run: wait for it by wait_for_{other}_run(), or by "
            "get_run(id).result(), which takes both"
        )
    ended: _core.Run = yield Within(client().wait(handle.id), until, f"run {handle.id}")
    return handle._keep(ended)


def _find(filter: str, limit: int) -> Steps[list[RunHandle[Any]]]:
    found: list[RunHandle[Any]] = []
    token = ""
    while True:
        size = min(_PAGE, limit - len(found)) if limit else _PAGE
        runs, token = yield client().list_runs(filter, size, token)
        found.extend(RunHandle(run.id) for run in runs)
        if not token or limit and len(found) >= limit:
            return found


def _find_by_key(key: str, name: str, parent: Optional[RunId]) -> Steps[list[RunHandle[Any]]]:
    if parent is None and not name:
        raise InvalidArgument(
            f"the idempotency key {key!r} is unique within a parent, a deployment, a flow or a task: say name= or "
            "parent= with it"
        )
    if parent is not None:
        scopes = [("parent", handle_of(parent).id)]
    else:
        scopes = [("deployment", name)] if "/" in name else [("flow", name), ("task", name)]
    found = []
    for scope, of in scopes:
        try:
            run: _core.Run = yield client().find_run(key, scope, of)
        except NotFound:
            continue
        found.append(RunHandle[Any](run.id))
    return found


def _state(state: str) -> str:
    if state.upper() not in _STATES:
        raise InvalidArgument(f"there is no state {state!r}; the states are {', '.join(_STATES)}")
    return state.upper()


def _quoted(value: str, stars: bool = False) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if stars else '"' + escaped.replace("*", "\\*") + '"'
