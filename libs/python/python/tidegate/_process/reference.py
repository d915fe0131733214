"""Functions as their names: another process imports them."""

from __future__ import annotations

import inspect
import os
import pickle
import sys
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from ..functions import Function


def reduce(function: Function[Any, Any]) -> tuple[Any, tuple[Any, ...]]:
    """`function` as pickle wants it: where it is defined, and the options that it has got since."""
    module, path = function.fn.__module__, function.fn.__qualname__
    why = _why_not(function, module, path)
    if why:
        mend = 'define it at the top level of a module that can be imported, or execute it with execution="thread"'
        raise pickle.PicklingError(f"another process cannot find the {function.kind} `{function.name}`: {why}; {mend}")
    original = find(module, path)
    if original is function:
        return find, (module, path)
    changes = {
        field.name: getattr(function.options, field.name)
        for field in fields(function.options)
        if getattr(function.options, field.name) != getattr(original.options, field.name)
    }
    return find_with, (module, path, changes)


def find(module: str, path: str) -> Function[Any, Any]:
    """The flow or task of this name."""
    found: Optional[Function[Any, Any]] = _found(module, path)
    if found is None:
        raise ImportError(f"there is no flow or task `{path}` in the module `{module}`")
    return found


def find_with(module: str, path: str, changes: dict[str, Any]) -> Function[Any, Any]:
    """As :func:`find`, with other options."""
    return find(module, path).with_options(**changes)


def _found(module: str, path: str) -> Any:
    from ..functions import Function

    place: Any = import_module(module)
    for name in path.split("."):
        # Not by its own lookup: a method would come bound to its class.
        place = inspect.getattr_static(place, name, None)
        if isinstance(place, (staticmethod, classmethod)):
            place = place.__func__
    return place if isinstance(place, Function) else None


def _why_not(function: Function[Any, Any], module: str, path: str) -> str:
    if "<locals>" in path:
        outer = path.split(".<locals>")[0]
        return f"it is defined inside `{outer}`"
    if "<lambda>" in path:
        return "it is a lambda, which has no name"
    if module == "__main__" and not _has_file(sys.modules["__main__"]):
        return "it is defined at a prompt, in a notebook or by `python -c`, so there is no file to import it from"
    try:
        found = _found(module, path)
    except Exception as error:
        return f"its module `{module}` cannot be imported: {error}"
    if found is None or found.fn is not function.fn:
        return f"`{path}` of the module `{module}` is something else by now"
    return ""


def _has_file(main: Any) -> bool:
    if getattr(main, "__spec__", None) is not None:
        return True
    return os.path.exists(getattr(main, "__file__", None) or "")
