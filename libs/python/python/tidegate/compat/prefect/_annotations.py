"""Marks on arguments."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from ...futures import Future
from ...handles import RunHandle
from ._errors import translated
from ._futures import PrefectFuture, Source, replaced, when_ended
from ._states import State

T = TypeVar("T")


class _Annotation(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    def unwrap(self) -> T:
        """What is marked."""
        return self.value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class unmapped(_Annotation[T]):  # noqa: N801 - as users write it
    """The same for all calls of `map`."""

    def __getitem__(self, _: object) -> T:
        return self.value


class allow_failure(_Annotation[T]):  # noqa: N801 - as users write it
    """Where the future that is marked has failed, the call is executed all the same, with the exception in its place."""


class quote(_Annotation[T]):  # noqa: N801 - as users write it
    """Taken as it is: futures in it are not looked for."""

    unquote = _Annotation.unwrap


Quote = quote


def plain(value: Any) -> Any:
    """`value` as Tidegate takes it: with its futures, and the results of states."""
    return replaced(value, _plain, (PrefectFuture, State, _Annotation))


def _plain(value: Any) -> Any:
    if isinstance(value, PrefectFuture):
        return value._source
    if isinstance(value, State):
        return value._result()
    if isinstance(value, allow_failure):
        return replaced(plain(value.value), _even_if_failed, (Future, RunHandle))
    return value.value if isinstance(value, quote) else plain(value.value)


def _even_if_failed(source: Source) -> Future[Any]:
    """A future that gives what the run of `source` returned or raised."""
    outcome: Future[Any] = Future(source.name if isinstance(source, Future) else "run")
    outcome.id = source.id

    def finish() -> None:
        try:
            outcome._finish(source.result(), None)
        except BaseException as error:
            outcome._finish(translated(error), None)

    when_ended(source, finish)
    return outcome
