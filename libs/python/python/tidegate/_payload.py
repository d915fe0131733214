"""Values as payloads: JSON first, so that every language and every person can read them; a pickle only when JSON
cannot hold the value.

A payload is `(encoding, data)` here. After the name of the encoding there may be more of its metadata, as
`;key=value`: `type`, a type's name; `reason`, why a result was not kept; `fingerprint`, see :mod:`tidegate.codecs`.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Iterator, Optional

from . import codecs, serializers
from .errors import PayloadError
from .serializers import JSON, PICKLE, Serializer

if TYPE_CHECKING:
    from .options import Options

__all__ = ["BINARY", "JSON", "NOT_KEPT", "NULL", "PICKLE", "decode", "encode", "encode_arguments", "is_kept"]

BINARY, NULL = "binary/plain", "null"
#: Of a result that is not there: it could not be encoded, or was not to be kept. Only its caller got it.
NOT_KEPT = "not-kept"
#: What codecs have made begins so.
_CODEC = "codec/"
#: Of a result that was not to be kept.
NOT_PERSISTED = f"{NOT_KEPT};reason=persist_result"
#: Of one that is larger than the server takes.
TOO_LARGE = f"{NOT_KEPT};reason=size"


def encode(value: Any, what: str, serializer: Optional[Serializer] = None) -> tuple[str, bytes]:
    """`value` as `(encoding, data)`; `what` names it in errors. Without a serializer: JSON, else a pickle."""
    payload = _encode(value, what, serializer)
    used = codecs.in_use()
    return payload if used is None else used.encode(*payload)


def encode_readable(value: Any, what: str) -> tuple[str, bytes]:
    """As :func:`encode`, for what people are to read: no codec is applied."""
    return _encode(value, what, None)


def encode_arguments(arguments: dict[str, Any], function: str) -> tuple[str, bytes]:
    """The arguments of a call by their names; one that cannot travel is named, and what in it is the cause."""
    payload = _encode_arguments(arguments, function)
    used = codecs.in_use()
    return payload if used is None else used.encode_parameters(*payload)


def _encode_arguments(arguments: dict[str, Any], function: str) -> tuple[str, bytes]:
    try:
        return _write(None, arguments)
    except Exception as error:
        for name, value in arguments.items():
            found = next(_culprits(value, "", 0), None) if not _can_travel(value) else None
            if found is not None:
                path, culprit, cause = found
                raise PayloadError(
                    f"the argument `{name}` of `{function}` cannot travel: `{name}{path}` is "
                    f"{_a(culprit)}, which is neither JSON nor picklable ({cause}); {_MEND}"
                ) from error
        raise PayloadError(f"the arguments of `{function}` cannot travel: pickle says `{error}`; {_MEND}") from error


_MEND = "pass what it is made from (a path, an id, plain data) instead"


def _encode(value: Any, what: str, serializer: Optional[Serializer]) -> tuple[str, bytes]:
    try:
        return _write(serializer, value)
    except PayloadError as error:
        raise PayloadError(f"{what} cannot be kept by its serializer ({serializer!r}): {error}") from error
    except Exception as error:
        if serializer is not None and not isinstance(
            serializer, (serializers.PickleSerializer, serializers.CompressedSerializer)
        ):
            raise PayloadError(
                f"{what} is {_a(value)}, which its serializer `{serializer.encoding}` cannot write: "
                f"{type(error).__name__}: {error}"
            ) from error
        path, culprit, cause = next(_culprits(value, "", 0), ("", value, str(error)))
        where = f" holds, at `{path}`, {_a(culprit)} that" if path else f" is {_a(culprit)} that"
        raise PayloadError(f"{what}{where} cannot travel: it is no JSON, and pickle says `{cause}`; {_MEND}") from error


def _write(serializer: Optional[Serializer], value: Any) -> tuple[str, bytes]:
    if value is None:
        return NULL, b""
    if type(value) is bytes and serializer is None:
        return BINARY, value
    return serializers.write(serializer, value)


def encode_result(value: Any, function: str, options: Optional[Options]) -> tuple[str, bytes]:
    """What a function has returned, as its options have it kept."""
    if options is None:
        return encode(value, f"the result of `{function}`")
    if options.persist_result is False and value is not None:
        return NOT_PERSISTED, b""
    chosen = options.result_serializer
    return encode(value, f"the result of `{function}`", None if chosen is None else serializers.named(chosen))


def decode(payload: Optional[tuple[str, bytes]], what: str) -> Any:
    """The value of `(encoding, data)`."""
    if payload is None:
        return None
    payload = _without_codecs(payload, what)
    encoding, data = payload
    if encoding == NULL:
        return None
    if encoding == BINARY:
        return bytes(data)
    if not is_kept(payload):
        raise PayloadError(f"{what} was not kept: {why_not_kept(encoding)}")
    try:
        return serializers.read(encoding, data)
    except LookupError as unknown:
        if str(unknown.args[0] if unknown.args else "") != encoding.partition(";")[0]:
            raise _unreadable(what, encoding, unknown) from unknown
        raise PayloadError(
            f"{what} is encoded as `{encoding}`, which this process cannot read: make its serializer known here by "
            "tidegate.serializers.register(...)"
        ) from None
    except Exception as error:
        raise _unreadable(what, encoding, error) from error


def _without_codecs(payload: tuple[str, bytes], what: str) -> tuple[str, bytes]:
    if not payload[0].startswith(_CODEC):
        return payload
    used = codecs.in_use()
    if used is not None:
        try:
            payload = used.decode(*payload)
        except PayloadError as error:
            raise PayloadError(f"{what} cannot be read: {error}") from error
    if payload[0].startswith(_CODEC):
        name = payload[0].removeprefix(_CODEC).partition(";")[0]
        raise PayloadError(
            f"{what} was written by the codec `{name}`, which this process does not have: give it to "
            "tidegate.codecs.use_codecs(...), or name it in TIDEGATE_CODECS"
        )
    return payload


def is_kept(payload: tuple[str, bytes]) -> bool:
    """False for the mark that stands in the place of a result that was not kept."""
    return payload[0].partition(";")[0] != NOT_KEPT


def why_not_kept(encoding: str) -> str:
    """The cause, with the mend."""
    if encoding == NOT_PERSISTED:
        return "its function has persist_result=False, so only the code that called it has got it; leave that out to keep it"
    if encoding == TOO_LARGE:
        return (
            "it is larger than the server keeps (its setting `payload.max_size`), so only the code that called it has got it; "
            "return a reference, such as a path or a key, instead"
        )
    return "it could not travel, so only the code that called it has got it"


def _unreadable(what: str, encoding: str, error: Exception) -> PayloadError:
    return PayloadError(f"{what} cannot be read ({encoding}): {type(error).__name__}: {error}")


def _can_travel(value: Any) -> bool:
    try:
        _write(None, value)
    except Exception:
        return False
    return True


#: How deep it is looked for what cannot be pickled.
_MAX_DEPTH = 20


def _culprits(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any, str]]:
    """The innermost things in `value` that cannot be pickled: their path, they, and what pickle says."""
    try:
        pickle.dumps(value, protocol=4)
    except Exception as error:
        found = False
        for step, part in _parts(value) if depth < _MAX_DEPTH else ():
            for culprit in _culprits(part, path + step, depth + 1):
                found = True
                yield culprit
        if not found:
            yield path, value, str(error)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"[{key!r}]".replace("'", '"'), item
    elif isinstance(value, (list, tuple)):
        for idx, item in enumerate(value):
            yield f"[{idx}]", item
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield "{…}", item
    elif hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        for name, item in vars(value).items():
            yield f".{name}", item


def _a(value: Any) -> str:
    """The type of a value, for people."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ in ("builtins", "_thread") else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
