"""How results become bytes: JSON, pickles, compressed or a format of your own.

Name one in ``@task(result_serializer=...)``: ``"json"``, ``"pickle"``, ``"compressed/json"``, ``"compressed/pickle"``, or
an object with the three members of :class:`Serializer`. Without one a result is JSON where JSON gives it back as it is,
else a pickle. The payload says how it was written, so whoever reads it need not know what was chosen; one of your own has
to be made known to the processes that read it by :func:`register`.
"""

from __future__ import annotations

import json
import math
import pickle
from typing import Any, Optional, Protocol, Union, runtime_checkable

from . import _typed
from .errors import InvalidArgument, PayloadError

__all__ = ["CompressedSerializer", "JSONSerializer", "PickleSerializer", "Serializer", "register"]

JSON, PICKLE = "json/plain", "python/pickle"
_ZLIB = "+zlib"
#: A value is compressed from this size on: below it there is nothing to gain.
_COMPRESS_FROM_BYTES = 1_024


@runtime_checkable
class Serializer(Protocol):
    """Turns values into bytes and back."""

    #: What payloads say of it, to all who read them: ``msgpack``, ``python/cloudpickle``. 1 to 64 characters of
    #: ``a-z 0-9 . _ - /``.
    encoding: str

    def dumps(self, value: Any) -> bytes:
        """`value` as bytes; raises for a value that it cannot write."""
        ...

    def loads(self, data: bytes) -> Any:
        """The value in `data`."""


class JSONSerializer:
    """JSON, which every language can read. Models of pydantic, dataclasses, enums, times and ids are JSON, too, and come
    back as what they were."""

    encoding = JSON

    def dumps(self, value: Any) -> bytes:
        """`value` as JSON; :class:`PayloadError` for what JSON cannot give back as it is (tuples become lists)."""
        return self.write(value)[1]

    def write(self, value: Any) -> tuple[str, bytes]:
        """As :meth:`dumps`, with what the payload is to say of it."""
        written = as_json(value)
        if written is None:
            raise PayloadError(f"a {type(value).__name__} cannot be written as JSON without a loss")
        return written

    def loads(self, data: bytes) -> Any:
        """The value in `data`."""
        return json.loads(data)


class PickleSerializer:
    """Python's pickles: nearly every value, for Python alone. Whoever can write what you read can run code here."""

    encoding = PICKLE

    def dumps(self, value: Any) -> bytes:
        """`value` as a pickle."""
        return pickle.dumps(value, protocol=4)

    def loads(self, data: bytes) -> Any:
        """The value in `data`."""
        return pickle.loads(data)


class CompressedSerializer:
    """What another serializer writes, compressed by zlib where that makes it smaller. Its encoding is that of the other
    one with ``+zlib``."""

    def __init__(self, inner: Union[str, Serializer, None] = None) -> None:
        """`inner` is a serializer or its name. Default: JSON, or a pickle where JSON cannot hold the value."""
        self._inner = None if inner is None else named(inner)
        self.encoding = (PICKLE if self._inner is None else self._inner.encoding) + _ZLIB

    def dumps(self, value: Any) -> bytes:
        """`value`, compressed."""
        import zlib

        return zlib.compress(write(self._inner, value)[1])

    def write(self, value: Any) -> tuple[str, bytes]:
        """`value` with what the payload is to say of it; not compressed where that would not make it smaller."""
        import zlib

        encoding, data = write(self._inner, value)
        if len(data) >= _COMPRESS_FROM_BYTES:
            smaller = zlib.compress(data)
            if len(smaller) < len(data):
                name, separator, rest = encoding.partition(";")
                return name + _ZLIB + separator + rest, smaller
        return encoding, data

    def loads(self, data: bytes) -> Any:
        """The value in `data`."""
        return read(self.encoding, data)


_registered: dict[str, Serializer] = {}
_BUILT_IN: dict[str, Serializer] = {"json": JSONSerializer(), "pickle": PickleSerializer()}


def register(serializer: Serializer, name: str = "") -> None:
    """Has this process read what `serializer` has written, and know it as `name` (default: its encoding) in
    ``result_serializer``. A later one of the same name or encoding takes its place."""
    named(serializer)
    _registered[serializer.encoding] = serializer
    _registered[name or serializer.encoding] = serializer


def named(serializer: Union[str, Serializer]) -> Serializer:
    """The serializer of that name, or the one given, once it is known to be one."""
    if isinstance(serializer, str):
        found = _BUILT_IN.get(serializer) or _registered.get(serializer)
        if found is not None:
            return found
        outer, _, inner = serializer.partition("/")
        if outer == "compressed":
            return CompressedSerializer(inner or None)
        known = ", ".join(sorted({*_BUILT_IN, *_registered, "compressed", "compressed/json", "compressed/pickle"}))
        raise InvalidArgument(
            f"there is no serializer `{serializer}`: the names are {known}; make your own known by "
            "tidegate.serializers.register(...)"
        )
    encoding = getattr(serializer, "encoding", None)
    if isinstance(serializer, type) or not isinstance(serializer, Serializer) or not isinstance(encoding, str):
        raise InvalidArgument(
            f"a serializer is a name such as \"json\", or an object with `encoding`, `dumps(value)` and `loads(data)`, not "
            f"{serializer!r}"
        )
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789._-/+"
    if not 1 <= len(encoding) <= 64 or not set(encoding.lower()) <= set(allowed):
        raise InvalidArgument(f"the encoding {encoding!r} of a serializer must be 1 to 64 characters of a-z 0-9 . _ - /")
    return serializer


def write(serializer: Optional[Serializer], value: Any) -> tuple[str, bytes]:
    """`value` as `(encoding, data)`; raises whatever the serializer does."""
    if serializer is None:
        return as_json(value) or (PICKLE, pickle.dumps(value, protocol=4))
    if type(serializer) is JSONSerializer or type(serializer) is CompressedSerializer:
        return serializer.write(value)
    return serializer.encoding, serializer.dumps(value)


def read(encoding: str, data: bytes) -> Any:
    """The value in `(encoding, data)`. Raises LookupError for an encoding that this process does not know."""
    name, _, rest = encoding.partition(";")
    if name in _registered:
        return _registered[name].loads(data)
    if name.endswith(_ZLIB):
        import zlib

        return read(encoding.replace(_ZLIB, "", 1), zlib.decompress(data))
    if name == JSON:
        kind = parameter(rest, "type")
        if kind:
            try:
                return _typed.load(kind, data)
            except LookupError:
                pass  # who does not have its type gets the plain data
        return json.loads(data)
    if name == PICKLE:
        return pickle.loads(data)
    raise LookupError(name)


def parameter(text: str, name: str) -> str:
    """The value of one of the `name=value` that follow an encoding."""
    for part in text.split(";"):
        key, _, value = part.partition("=")
        if key == name:
            return value
    return ""


def as_json(value: Any) -> Optional[tuple[str, bytes]]:
    """`value` as JSON, where JSON gives it back as it is, but for tuples."""
    try:
        is_plain = _fits_json(value)
    except RecursionError:  # it holds itself, or is very deep
        return None
    if is_plain:
        return JSON, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    typed = _typed.dump(value)
    return None if typed is None else (f"{JSON};type={typed[0]}", typed[1])


def _fits_json(value: Any) -> bool:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is list or kind is tuple:
        return all(map(_fits_json, value))
    if kind is dict:
        return all(type(key) is str and _fits_json(item) for key, item in value.items())
    return False
