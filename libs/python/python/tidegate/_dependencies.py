"""Futures and handles among the arguments of a call, which waits for them and gets their results."""

from __future__ import annotations

import threading
from typing import Any, Union

from ._connection import client
from .errors import InvalidArgument
from .futures import Future
from .handles import RunHandle

Dependency = Union[Future[Any], RunHandle[Any]]


def dependencies(value: Any) -> list[Dependency]:
    """The futures and handles in `value`, also inside lists, tuples, sets and dicts."""
    found: list[Dependency] = []
    # With a list of what is left, not by calls: a value may be nested deeper than Python calls, or hold itself.
    left = [value]
    seen: set[int] = set()
    while left:
        item = left.pop()
        if isinstance(item, (Future, RunHandle)):
            found.append(item)
        elif isinstance(item, (dict, list, tuple, set, frozenset)) and id(item) not in seen:
            seen.add(id(item))
            left.extend(reversed(tuple(item.values() if isinstance(item, dict) else item)))
    return found


def resolve(value: Any) -> Any:
    """`value` with the futures and handles in it replaced by their results, which are waited for."""
    if not dependencies(value):
        return value
    try:
        return _replace(value)
    except RecursionError:
        raise InvalidArgument(
            "an argument with futures or run handles in it holds itself, or is nested too deeply for their results to be put in "
            "their place: pass them in a list or dict of their own"
        ) from None


def _replace(value: Any) -> Any:
    if isinstance(value, (Future, RunHandle)):
        return value.result()
    if isinstance(value, dict):
        return {key: _replace(item) for key, item in value.items()}
    if isinstance(value, (list, set, frozenset)):
        return type(value)(_replace(item) for item in value)
    if isinstance(value, tuple):
        items = [_replace(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def has_failed(dependency: Dependency) -> bool:
    if isinstance(dependency, Future):
        return dependency._error is not None
    return not dependency.state.is_completed()


def when_ended(needed: list[Dependency], then: Any) -> None:
    """Calls `then` once all of `needed` have ended. No thread waits."""
    lock = threading.Lock()
    left = len(needed)

    def one_ended(*_: Any) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left:
                return
        then()

    for dependency in needed:
        if isinstance(dependency, RunHandle):
            client().wait(dependency.id).subscribe(one_ended)
        else:
            dependency.add_done_callback(one_ended)
