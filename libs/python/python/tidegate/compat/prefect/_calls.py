"""What runs now, as Prefect's code asks for it, and names that serve sync and async code alike."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import itertools
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Callable, Iterator, NamedTuple, Optional

from ..._runtime import RunContext, current_run


class Execution(NamedTuple):
    """A function that runs."""

    #: The flow or task; a :class:`Function`, which as the type of a field would count as a method of it.
    function: Any
    #: What it was called with, by the names of its parameters.
    arguments: dict[str, Any]
    #: The run; None while its name is made.
    run: Optional[RunContext]
    #: That of the code that called it.
    outer: Optional[Execution]
    #: Numbers the pauses of its code.
    pauses: Iterator[int]


_executing: ContextVar[Optional[Execution]] = ContextVar("tidegate_prefect_execution", default=None)


@contextmanager
def executing(function: Any, arguments: dict[str, Any]) -> Iterator[None]:
    """Around the code of `function`."""
    with _innermost(function, arguments, current_run()):
        yield


@contextmanager
def naming(function: Any, arguments: dict[str, Any]) -> Iterator[None]:
    """Around what makes the name of a run of `function` that is still to be made."""
    with _innermost(function, arguments, None):
        yield


@contextmanager
def _innermost(function: Any, arguments: dict[str, Any], run: Optional[RunContext]) -> Iterator[None]:
    token = _executing.set(Execution(function, arguments, run, _executing.get(), itertools.count(1)))
    try:
        yield
    finally:
        _executing.reset(token)


def current(kind: Optional[str] = None) -> Optional[Execution]:
    """What runs now; with `kind`, the innermost ``flow`` or ``task``."""
    execution = _executing.get()
    while execution is not None and kind is not None and execution.function.kind != kind:
        execution = execution.outer
    return execution


def is_async() -> bool:
    """True in code that can await: that of an async flow or task, or outside of those where an event loop runs."""
    execution = _executing.get()
    if execution is not None and not execution.function.isasync:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def dual(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which blocks, as one that in async code gives an awaitable instead."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if is_async():
            return asyncio.to_thread(function, *args, **kwargs)
        return function(*args, **kwargs)

    return called


def in_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which blocks, as a coroutine function."""

    @functools.wraps(function)
    async def called(*args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(function, *args, **kwargs)

    return called


def plainly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a function of Tidegate that blocks unless an event loop runs, and has it block: also in plain code that async
    code has called."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function(*args, **kwargs)
    outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def call() -> None:
        try:
            outcome.set_result(function(*args, **kwargs))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(call,), name="tidegate-prefect").start()
    return outcome.result()


def as_code_asks(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls such a function; in async code it gives an awaitable, in plain code it blocks."""
    return function(*args, **kwargs) if is_async() else plainly(function, *args, **kwargs)
