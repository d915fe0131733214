"""Values that JSON has no word for, as JSON that gives them back: models of pydantic, dataclasses, enums, times, ids.

pydantic reads and writes them. It is imported with the first value that needs it.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache
from typing import Any, Optional

#: What of the standard library is written as JSON, by module and name.
_STANDARD = {
    "datetime:date": date,
    "datetime:datetime": datetime,
    "datetime:time": time,
    "datetime:timedelta": timedelta,
}
#: The same, of modules that are not imported for this alone.
_STANDARD_NAMES = frozenset({"decimal:Decimal", "uuid:UUID", "pathlib:Path", "pathlib:PurePath"})


def dump(value: Any) -> Optional[tuple[str, bytes]]:
    """`(name of the type, JSON)`; None where JSON would lose something of it.

    The name is ``module:Class``, or ``list[module:Class]`` and ``dict[module:Class]`` of values of one type.
    """
    name, kind = _shape(value)
    adapter = _adapter(kind) if kind is not None else None
    if name is None or adapter is None:
        return None
    try:
        data = adapter.dump_json(value, warnings="error")
        # A field without a type may come back as another one.
        is_same = bool(adapter.validate_json(data) == value)
    except Exception:  # what pydantic, or the value's own code, cannot do with it
        return None
    return (name, data) if is_same else None


def load(name: str, data: bytes) -> Any:
    """What `dump` was given. Raises LookupError where this process cannot import its type."""
    outer, _, inner = name.rstrip("]").rpartition("[")
    kind = _class(inner)
    if outer == "list":
        kind = list[kind]  # type: ignore[valid-type]
    elif outer == "dict":
        kind = dict[str, kind]  # type: ignore[valid-type]
    elif outer:
        raise LookupError(f"`{outer}` is no container")
    adapter = _adapter(kind)
    if adapter is None:
        raise LookupError(f"pydantic cannot read a `{name}`")
    return adapter.validate_json(data)


def _shape(value: Any) -> tuple[Optional[str], Any]:
    """The name of the value's type, and the type."""
    if type(value) is list:
        name, kind = _shape_of_one(value)
        return (None, None) if name is None else (f"list[{name}]", list[kind])  # type: ignore[valid-type]
    if type(value) is dict and all(type(key) is str for key in value):
        name, kind = _shape_of_one(list(value.values()))
        return (None, None) if name is None else (f"dict[{name}]", dict[str, kind])  # type: ignore[valid-type]
    return _name(value)


def _shape_of_one(items: list[Any]) -> tuple[Optional[str], Any]:
    """Of items that are all of one type."""
    return _name(items[0]) if len({type(item) for item in items}) == 1 else (None, None)


def _name(value: Any) -> tuple[Optional[str], Any]:
    kind = type(value)
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and isinstance(value, pathlib.Path):
        return "pathlib:Path", pathlib.Path
    name = f"{kind.__module__}:{kind.__qualname__}"
    if name in _STANDARD or name in _STANDARD_NAMES:
        # Of a zone with a name JSON keeps the offset alone.
        zone = getattr(value, "tzinfo", None)
        is_known = zone is None or isinstance(zone, timezone)
        return (name, kind) if is_known else (None, None)
    is_own = dataclasses.is_dataclass(value) or isinstance(value, enum.Enum) or hasattr(kind, "__pydantic_validator__")
    if not is_own or sys.modules.get(kind.__module__) is None:
        return None, None
    try:
        found = _class(name)
    except LookupError:  # of a function's own, say
        return None, None
    return (name, kind) if found is kind else (None, None)


def _class(name: str) -> Any:
    module_name, _, qualname = name.partition(":")
    if name in _STANDARD:
        return _STANDARD[name]
    try:
        module = sys.modules.get(module_name) or __import__(module_name, fromlist=["_"])
        found: Any = module
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(f"`{name}` cannot be imported: {error}") from None
    if not isinstance(found, type):
        raise LookupError(f"`{name}` is no class")
    return found


def _adapter(kind: Any) -> Any:
    try:
        return _adapter_of(kind)
    except TypeError:  # a hint that cannot be hashed
        return None


@lru_cache(maxsize=1024)
def _adapter_of(kind: Any) -> Any:
    try:
        from pydantic import TypeAdapter

        return TypeAdapter(kind)
    except Exception:  # pydantic is not there, or has no schema for it
        return None
