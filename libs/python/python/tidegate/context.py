"""What code sets for the runs that it starts."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Iterator

from .errors import InvalidArgument

_tags: ContextVar[tuple[str, ...]] = ContextVar("tidegate_tags", default=())


@contextmanager
def tags(*words: str) -> Iterator[tuple[str, ...]]:
    """All runs that are started inside have these tags too, however deep: by a call, submitted, mapped or delayed.

    Gives all tags that hold there. What a worker executes later starts without them.
    """
    for word in words:
        if not isinstance(word, str):
            raise InvalidArgument(f'tags() takes words, as tags("a", "b"), not {word!r}')
    token = _tags.set(joined(_tags.get(), words))
    try:
        yield _tags.get()
    finally:
        _tags.reset(token)


def current_tags() -> tuple[str, ...]:
    """The tags of the enclosing :func:`tags`."""
    return _tags.get()


def joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    """Each of them once, in order."""
    return tuple(dict.fromkeys((*first, *second)))
