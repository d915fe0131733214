"""One name for sync and async code.

What is written once, as steps that wait for operations of the core, blocks in plain code and gives its value; where an
event loop runs it gives something to await. Its first request is sent in either case, also if nobody awaits it.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Generator, NamedTuple, Optional, TypeVar, Union

from . import _core
from ._connection import awaited, block
from ._lazy import asyncio
from ._runtime import current_run
from .errors import WaitTimeout

T = TypeVar("T")


class Within(NamedTuple):
    """An operation that is waited for until `deadline`, on the clock of `time.monotonic`."""

    op: _core.Op
    deadline: Optional[float]
    #: What it is, for the error.
    what: str


Steps = Generator[Union[_core.Op, Within], Any, T]


def answer(op: _core.Op, then: Callable[[Any], T]) -> Steps[T]:
    """One operation, and what `then` makes of its result."""
    return then((yield op))


def deadline(timeout: Optional[float]) -> Optional[float]:
    """When `timeout` seconds from now have passed."""
    return None if timeout is None else time.monotonic() + timeout


def dual(steps: Steps[T]) -> Any:
    """The value of `steps`; in async code an awaitable of it."""
    return Pending(steps) if is_async() else run(steps)


def is_async() -> bool:
    """True where code may await: an event loop runs in this thread, and the run that it belongs to, if any, is async."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    current = current_run()
    return current is None or current._is_async


def run(steps: Steps[T]) -> T:
    """Takes `steps` in this thread."""
    answer: Any = None
    error: Optional[BaseException] = None
    while True:
        try:
            step = steps.throw(error) if error is not None else steps.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value
        answer, error = None, None
        try:
            answer = _block(step)
        except BaseException as raised:
            error = raised


class Pending:
    """Steps under way, to be awaited."""

    def __init__(self, steps: Steps[Any]) -> None:
        self._steps = steps
        self._error: Optional[BaseException] = None
        self._value: Any = None
        self._first: Any = None
        try:
            self._first = next(steps)
        except StopIteration as end:
            self._value = end.value
        except BaseException as error:
            self._error = error

    def __await__(self) -> Generator[Any, None, Any]:
        return self._rest().__await__()

    async def _rest(self) -> Any:
        if self._error is not None:
            raise self._error
        step, self._first = self._first, None
        while step is not None:
            try:
                answer = await _awaited(step)
            except BaseException as error:
                step = self._sent(lambda error=error: self._steps.throw(error))
            else:
                step = self._sent(lambda answer=answer: self._steps.send(answer))
        return self._value

    def _sent(self, send: Any) -> Any:
        try:
            return send()
        except StopIteration as end:
            self._value = end.value
            return None


def _block(step: Union[_core.Op, Within]) -> Any:
    if not isinstance(step, Within):
        return block(step)
    if step.deadline is None:
        return block(step.op)
    begun = time.monotonic()
    return block(step.op, max(0.0, step.deadline - begun), step.what)


async def _awaited(step: Union[_core.Op, Within]) -> Any:
    if not isinstance(step, Within):
        return await awaited(step)
    if step.deadline is None:
        return await awaited(step.op)
    left = max(0.0, step.deadline - time.monotonic())
    try:
        return await asyncio.wait_for(awaited(step.op), left)
    except asyncio.TimeoutError:
        raise WaitTimeout(f"{step.what} has not ended within {left:g} s") from None
