"""What is done to values between this process and the server, such as encryption.

    class Encryption:
        name = "fernet"
        def encode(self, data: bytes) -> bytes: ...
        def decode(self, data: bytes) -> bytes: ...

    use_codecs(Encryption())

The server, its database and object storage then hold only what `encode` has made: of parameters, results and what a run
is resumed with. What people look for and look at stays readable: names, tags, labels, cache keys, errors, messages, logs,
and what a pause asks for. Every process that reads such values needs the codec: call :func:`use_codecs` where all of them
import it, or name it in the environment, ``TIDEGATE_CODECS=my.module:codecs`` (a codec, a list of them, or a function that
gives one). ``examples/encryption.py`` is whole.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Iterable, Optional, Protocol

from . import _core
from .errors import InvalidArgument

__all__ = ["PayloadCodec", "use_codecs"]


class PayloadCodec(Protocol):
    """Changes the bytes of values, and changes them back.

    It may also have ``fingerprint(data: bytes) -> bytes``: what the server knows equal parameters by, for idempotency keys
    and for the calls that a later attempt makes again. It must be the same for the same data, always, also with another
    key, and is not secret. By default it is the SHA-256, by which few possible values can be told apart; where that matters
    give an HMAC with a secret that never changes.
    """

    #: Who reads a value looks for the codec of this name. 1 to 58 of ``A-Z a-z 0-9 . _ -``.
    name: str

    def encode(self, data: bytes) -> bytes:
        """What is sent and kept instead of `data`. Called by many threads at once."""
        ...

    def decode(self, data: bytes) -> bytes:
        """What `data` was made from, also by an earlier version or with an earlier key."""
        ...


_lock = threading.RLock()  # the module that the environment names may call use_codecs() itself
_codecs: Optional[_core.Codecs] = None
#: What they were made from.
_objects: tuple[list[Any], list[Any]] = ([], [])
_environment_read = False


def use_codecs(*codecs: PayloadCodec, also_reads: Iterable[PayloadCodec] = ()) -> None:
    """From now on, values of this process go through each of `codecs` in turn, and are read backwards.

    Without any, values go as they are. What was written without a codec can be read all the same.

    :param also_reads: codecs that are only read: those that were used before, under other names.
    """
    global _codecs, _objects, _environment_read
    objects = (list(codecs), list(also_reads))
    made = _made(*objects)
    with _lock:
        _codecs, _objects, _environment_read = made, objects, True


def in_use() -> Optional[_core.Codecs]:
    """The codecs of this process; None where there are none."""
    if not _environment_read:
        with _lock:
            if not _environment_read:
                use_codecs(*_from_environment())
    return _codecs


def for_children() -> Optional[bytes]:
    """What a process that executes runs of this one is given, so that nothing of it goes out in the clear: a pickle of the
    codecs, or an empty one of those that cannot be pickled. None: there are none."""
    if in_use() is None:
        return None
    import pickle

    try:
        return pickle.dumps(_objects)
    except Exception:
        return b""


def take_over(given: Optional[bytes]) -> None:
    """Has this process use the codecs of its parent, unless it has come to its own."""
    if given is None or in_use() is not None:
        return
    if not given:
        raise InvalidArgument(
            "the codecs of the worker cannot be pickled, so its processes do not have them: call use_codecs() at the top level "
            "of the script, or name them in TIDEGATE_CODECS"
        )
    import pickle

    codecs, also_reads = pickle.loads(given)
    use_codecs(*codecs, also_reads=also_reads)


def _from_environment() -> list[Any]:
    name = os.environ.get("TIDEGATE_CODECS", "")
    if not name:
        return []
    import importlib

    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgument(
            f"TIDEGATE_CODECS is `{name}`, which cannot be imported: {error}; it must be like my.module:codecs"
        ) from error
    if not hasattr(found, "encode") and callable(found):
        found = found()
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _made(writing: list[Any], reading: list[Any]) -> Optional[_core.Codecs]:
    for codec in (*writing, *reading):
        if isinstance(codec, type) or not all(callable(getattr(codec, each, None)) for each in ("encode", "decode")):
            raise InvalidArgument(
                f"a codec is an object with `name`, `encode(data)` and `decode(data)`, not {codec!r}"
            )
        if not isinstance(getattr(codec, "name", None), str):
            raise InvalidArgument(f"the codec {codec!r} needs a `name`, by which payloads say how they are to be read")
    return _core.Codecs(writing, reading) if writing or reading else None
