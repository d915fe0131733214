"""Named values that runs share, and that people change without touching code.

    from tidegate.variables import Variable

    Variable.set("threshold", 0.8)
    Variable.get("threshold", default=0.5)

Variables are no secrets: whoever reaches the server reads them. Keep passwords and tokens elsewhere.

`get`, `set` and `unset` work from plain and from async code: in async code they give an awaitable, else they wait. `aget`, `aset` and `aunset` always give an awaitable.
"""

from __future__ import annotations

import json
from typing import Any, Optional, Sequence

from . import _core
from ._connection import client
from ._dual import Pending, answer, dual
from .errors import PayloadError

__all__ = ["Variable"]


class Variable:
    """A named value, as it was set."""

    __slots__ = ("name", "tags", "value")

    def __init__(self, name: str, value: Any, tags: Optional[Sequence[str]] = None) -> None:
        #: Its name: 1 to 128 characters of `a-z 0-9 _ -`.
        self.name = name
        #: Its value.
        self.value = value
        #: What people find it by.
        self.tags = list(tags or [])

    @classmethod
    def get(cls, name: str, default: Any = None) -> Any:
        """The value of a variable; `default` where there is none of this name."""
        return dual(answer(client().get_variable(name), lambda found: _value(found, default)))

    @classmethod
    async def aget(cls, name: str, default: Any = None) -> Any:
        """As :meth:`get`, for async code."""
        return await Pending(answer(client().get_variable(name), lambda found: _value(found, default)))

    @classmethod
    def set(cls, name: str, value: Any, tags: Optional[Sequence[str]] = None, overwrite: bool = False) -> Any:
        """Makes a variable, and gives it.

        Raises :class:`AlreadyExists` where it is there, unless `overwrite` is set: then its value and its tags are replaced.

        :param value: what JSON can hold, up to 64 KiB.
        """
        op, variable = cls._set(name, value, tags, overwrite)
        return dual(answer(op, lambda _: variable))

    @classmethod
    async def aset(cls, name: str, value: Any, tags: Optional[Sequence[str]] = None, overwrite: bool = False) -> Variable:
        """As :meth:`set`, for async code."""
        op, variable = cls._set(name, value, tags, overwrite)
        await Pending(answer(op, bool))
        return variable

    @classmethod
    def unset(cls, name: str) -> Any:
        """Takes a variable away; False where there is none of this name."""
        return dual(answer(client().delete_variable(name), bool))

    @classmethod
    async def aunset(cls, name: str) -> bool:
        """As :meth:`unset`, for async code."""
        return bool(await Pending(answer(client().delete_variable(name), bool)))

    @classmethod
    def _set(
        cls, name: str, value: Any, tags: Optional[Sequence[str]], overwrite: bool
    ) -> tuple[_core.Op, Variable]:
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise PayloadError(
                f"the value of variable `{name}` is a {type(value).__name__} that is no JSON: {error}; "
                "set what it is made from (a text, a number, lists and dicts of them) instead"
            ) from error
        variable = cls(name, json.loads(text), tags)
        op = client().set_variable(name, text, tags=variable.tags, description="", overwrite=overwrite)
        return op, variable

    def __repr__(self) -> str:
        return f"Variable(name={self.name!r}, value={self.value!r}, tags={self.tags!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Variable) and (other.name, other.value, other.tags) == (
            self.name,
            self.value,
            self.tags,
        )


def _value(found: Optional[tuple[str, list[str], str]], default: Any) -> Any:
    return default if found is None else json.loads(found[0])
