"""Futures and handles among the arguments of a call, which waits for them and gets their results."""

from __future__ import annotations

import threading
from typing import Any, Union

from ._connection import client
from .futures import Future
from .handles import RunHandle

Dependency = Union[Future[Any], RunHandle[Any]]


def dependencies(value: Any) -> list[Dependency]:
    """The futures and handles in `value`, also inside lists, tuples, sets and dicts."""
    if isinstance(value, (Future, RunHandle)):
        return [value]
    if isinstance(value, dict):
        return [found for item in value.values() for found in dependencies(item)]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [found for item in value for found in dependencies(item)]
    return []


def resolve(value: Any) -> Any:
    """`value` with the futures and handles in it replaced by their results, which are waited for."""
    return _replace(value) if dependencies(value) else value


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
