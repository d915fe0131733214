"""Variables, with the parameters of Prefect's class."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from ... import variables
from ._calls import as_code_asks, plainly
from ._errors import translating


class Variable(variables.Variable):
    """A named value. In async code await `get`, `set` and `unset`."""

    @classmethod
    def get(cls, name: str, default: Any = None, as_object: bool = False) -> Any:
        """The value of a variable; `default` where there is none of this name."""
        return as_code_asks(variables.Variable.get, name, default)

    @classmethod
    def set(cls, name: str, value: Any, tags: Optional[Sequence[str]] = None, overwrite: bool = False) -> Any:
        """Makes a variable, and gives it; one that is there is only replaced with `overwrite`."""
        return as_code_asks(_set, name, value, tags, overwrite)

    @classmethod
    def unset(cls, name: str) -> Any:
        """Takes a variable away; False where there is none of this name."""
        return as_code_asks(variables.Variable.unset, name)


def _set(name: str, value: Any, tags: Optional[Sequence[str]], overwrite: bool) -> Any:
    from ._calls import is_async

    if is_async():
        return _set_async(name, value, tags, overwrite)
    with translating():
        return plainly(variables.Variable.set, name, value, tags, overwrite)


async def _set_async(name: str, value: Any, tags: Optional[Sequence[str]], overwrite: bool) -> Any:
    with translating():
        return await variables.Variable.aset(name, value, tags, overwrite)
