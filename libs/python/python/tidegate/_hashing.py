"""Hashes of values that are the same in every process."""

from __future__ import annotations

import copyreg
import hashlib
import inspect
import types
from enum import Enum
from typing import Any, Callable, Optional

from .errors import InvalidArgument

#: How deep values may be nested.
_MAX_DEPTH = 100


class _Unhashable(Exception):
    """With the path of what cannot be hashed, from the inside out, and the thing."""

    def __init__(self, value: Any, cause: str) -> None:
        super().__init__(cause)
        self.value = value
        self.path = ""


def of_inputs(inputs: dict[str, Any], function: str) -> str:
    """The hash of arguments by name. Raises InvalidArgument for one that has none, with its name and the mend."""
    hasher = hashlib.sha256()
    for name, value in sorted(inputs.items()):
        hasher.update(_of_text(name))
        try:
            hasher.update(_of(value, ()))
        except _Unhashable as error:
            kind = type(error.value).__qualname__
            raise InvalidArgument(
                f"the argument `{name}` of `{function}` cannot be part of a cache key: `{name}{error.path}` is of the type "
                f"{kind}, which {error}; leave it out by `INPUTS - \"{name}\"`, or make the key yourself by cache_key_fn"
            ) from error
    return hasher.hexdigest()


def of_texts(*texts: str) -> str:
    """The hash of some texts in order."""
    return hashlib.sha256(b"".join(map(_of_text, texts))).hexdigest()


def of_source(function: Callable[..., Any]) -> str:
    """The hash of a function's source; of its bytecode where there is no source."""
    try:
        return of_texts(inspect.getsource(function))
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        if code is None:
            raise InvalidArgument(
                f"`{function!r}` has neither source nor bytecode, so TASK_SOURCE knows no version of it: leave TASK_SOURCE out"
            ) from None
        return hashlib.sha256(_of_code(code)).hexdigest()


def _of_code(code: types.CodeType) -> bytes:
    constants = [_of_code(each) if isinstance(each, types.CodeType) else repr(each).encode() for each in code.co_consts]
    return _digest(b"code", code.co_code, repr(code.co_names).encode(), *constants)


def _of_text(text: str) -> bytes:
    return _digest(b"str", text.encode(errors="surrogatepass"))


def _digest(tag: bytes, *parts: bytes) -> bytes:
    hasher = hashlib.sha256(tag)
    for part in parts:  # with its length, so that no two lists of parts are one text
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.digest()


def _of(value: Any, above: tuple[int, ...]) -> bytes:
    kind = type(value)
    if kind is str:
        return _of_text(value)
    if value is None or kind is bool or kind is int or kind is float or kind is complex:
        return _digest(b"const", repr(value).encode())
    if kind in (bytes, bytearray):
        return _digest(b"bytes", bytes(value))
    if id(value) in above or len(above) > _MAX_DEPTH:
        raise _Unhashable(value, f"holds itself, or is nested more than {_MAX_DEPTH} deep")
    above = (*above, id(value))
    if kind is list or kind is tuple:  # JSON makes lists of tuples, so both are one
        return _digest(b"list", *(_at(f"[{idx}]", item, above) for idx, item in enumerate(value)))
    if kind is dict:
        items = [_of(key, above) + _at(f"[{_quoted(key)}]", item, above) for key, item in value.items()]
        return _digest(b"dict", *sorted(items))
    if kind is set or kind is frozenset:
        return _digest(b"set", *sorted(_at("{…}", item, above) for item in value))
    if isinstance(value, Enum):
        return _digest(b"enum", _of_name(kind), _of_text(value.name))
    if isinstance(value, type) or isinstance(value, (types.FunctionType, types.BuiltinFunctionType)):
        return _of_global(value)
    return _of_object(value, above)


def _at(step: str, value: Any, above: tuple[int, ...]) -> bytes:
    try:
        return _of(value, above)
    except _Unhashable as error:
        error.path = step + error.path
        raise


def _hidden(value: Any, above: tuple[int, ...]) -> bytes:
    """Of a part that has no path for people."""
    try:
        return _of(value, above)
    except _Unhashable as error:
        error.path = ""
        raise


def _of_name(value: Any) -> bytes:
    return _of_text(f"{value.__module__}.{value.__qualname__}")


def _of_global(value: Any) -> bytes:
    if "<" in value.__qualname__:  # a lambda, or a function's own
        raise _Unhashable(value, "has no name that other processes know")
    return _digest(b"global", _of_name(value))


def _of_object(value: Any, above: tuple[int, ...]) -> bytes:
    """By what pickle would keep of it, but each part by its own hash: a pickle may be another in another process."""
    reducer: Optional[Callable[[Any], Any]] = copyreg.dispatch_table.get(type(value))
    try:
        reduced = reducer(value) if reducer is not None else value.__reduce_ex__(4)
    except Exception as error:
        raise _Unhashable(value, f"cannot be pickled ({error})") from error
    if isinstance(reduced, str):
        return _digest(b"global", _of_text(reduced))
    parts_of_object: tuple[Any, ...] = (*reduced, None, None, None)
    call, arguments, state, items, pairs = parts_of_object[:5]
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict) and state[1] is None:
        state = state[0]
    if isinstance(state, dict):
        # pydantic keeps beside the fields which of them were set: equal models may differ in that.
        parts = [
            _of(key, above) + _at("" if str(key).startswith("__") else f".{key}", item, above)
            for key, item in state.items()
            if key != "__pydantic_fields_set__"
        ]
        of_state = _digest(b"state", *sorted(parts))
    else:
        of_state = _at("", state, above)
    return _digest(
        b"object",
        _of_global(call) if hasattr(call, "__qualname__") else _of(call, above),
        _hidden(arguments, above),
        of_state,
        *(_at(f"[{idx}]", item, above) for idx, item in enumerate(items or ())),
        *sorted(_of(key, above) + _at(f"[{_quoted(key)}]", item, above) for key, item in pairs or ()),
    )


def _quoted(key: Any) -> str:
    return f'"{key}"' if isinstance(key, str) else repr(key)
