"""The calls that a `.map()` stands for."""

from __future__ import annotations

from typing import Any, Iterable, Optional, Sequence

from .errors import InvalidArgument
from .futures import Future, unmapped
from .handles import RunHandle

Calls = list[tuple[tuple[Any, ...], dict[str, Any]]]


def in_step(name: str, arguments: Sequence[Any], constants: dict[str, Any]) -> Calls:
    """The calls of a map: iterables among the positional arguments are taken in step, all else is the same for each."""
    columns = [_column(argument) for argument in arguments]
    lengths = {len(column) for column in columns if column is not None}
    if not lengths:
        raise InvalidArgument(f"`{name}.map()` has nothing to go over: give at least one iterable as a positional argument")
    if len(lengths) > 1:
        found = ", ".join(
            f"{len(column)} in argument {n}" for n, column in enumerate(columns, 1) if column is not None
        )
        raise InvalidArgument(
            f"`{name}.map()` takes its arguments in step, but they have different lengths: {found}; give lists of one length, "
            "and wrap what is the same for every call: unmapped(value)"
        )
    same = {key: _unwrapped(value) for key, value in constants.items()}
    return [
        (tuple(_unwrapped(arguments[i]) if column is None else column[n] for i, column in enumerate(columns)), same)
        for n in range(lengths.pop())
    ]


def _unwrapped(value: Any) -> Any:
    return value.value if isinstance(value, unmapped) else value


def _column(argument: Any) -> Optional[list[Any]]:
    if isinstance(argument, (Future, RunHandle)):
        argument = argument.result()  # how many there are is to be known
    if isinstance(argument, (str, bytes, unmapped)) or not isinstance(argument, Iterable):
        return None
    return list(argument)
