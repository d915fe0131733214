"""Values as payloads: JSON first, so that every language and every person can read them; a pickle only when JSON
cannot hold the value."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any, Optional

from .errors import PayloadError

JSON, BINARY, PICKLE, NULL = "json/plain", "binary/plain", "python/pickle", "null"
#: Of a local run whose result could not be encoded: only its caller got it.
NOT_KEPT = "not-kept"


def encode(value: Any, what: str) -> tuple[str, bytes]:
    """`value` as `(encoding, data)`; `what` names it in errors."""
    if value is None:
        return NULL, b""
    if type(value) is bytes:
        return BINARY, value
    if _fits_json(value):
        return JSON, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        return PICKLE, pickle.dumps(value, protocol=4)
    except Exception as error:
        raise PayloadError(
            f"{what} is a {type(value).__name__} that cannot travel: it is no JSON, and pickle says `{error}`; "
            "pass what it is made from (a path, an id, plain data) instead"
        ) from error


def decode(payload: Optional[tuple[str, bytes]], what: str) -> Any:
    """The value of `(encoding, data)`."""
    if payload is None:
        return None
    encoding, data = payload
    if encoding == NULL:
        return None
    if encoding == BINARY:
        return bytes(data)
    if encoding == NOT_KEPT:
        raise PayloadError(f"{what} was not kept: it could not travel, so only the code that called it has got it")
    try:
        if encoding == JSON:
            return json.loads(data)
        if encoding == PICKLE:
            return pickle.loads(data)
    except Exception as error:
        raise PayloadError(f"{what} cannot be read ({encoding}): {type(error).__name__}: {error}") from error
    raise PayloadError(f"{what} is encoded as `{encoding}`, which this version cannot read")


def _fits_json(value: Any) -> bool:
    """True when JSON gives the value back as it is, but for tuples, which come back as lists."""
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
