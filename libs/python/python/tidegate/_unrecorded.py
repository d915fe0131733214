"""Calls with recording off: plain functions, for unit tests and for scripts that no server is needed for.

With ``TIDEGATE_RECORDING=off`` what is called or submitted outside of any run is executed as if it were not decorated: no
server is asked, and nothing is kept, retried, cached, named or bounded in time. A call still waits for what it submitted,
and ``.delay()`` goes to the server as ever.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Optional

from . import _background, _execution
from ._dependencies import Dependency, dependencies, has_failed, resolve, when_ended
from .errors import InvalidArgument, UpstreamFailed
from .futures import Future

if TYPE_CHECKING:
    from .functions import Function

_VARIABLE = "TIDEGATE_RECORDING"
_SWITCH = {None: False, "": False, "on": False, "off": True}


def is_off() -> bool:
    """True when calls outside of any run are not recorded."""
    said = os.environ.get(_VARIABLE)
    try:
        return _SWITCH[said]
    except KeyError:
        raise InvalidArgument(
            f"{_VARIABLE} is {said!r}: say `off` to execute what is called outside of any run without recording it, `on` to "
            "record it"
        ) from None


class _Call:
    """A call under way, and what it has submitted."""

    def __init__(self, function: Function[Any, Any]) -> None:
        self.function = function
        self.children: list[Future[Any]] = []
        self._pool: Optional[ThreadPoolExecutor] = None

    def executor(self) -> Executor:
        """Of this call alone: calls that wait for their own children can so never take each other's threads."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.function.options.max_workers)
        return self._pool

    def close(self) -> None:
        """Nothing more is submitted."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)


_call: contextvars.ContextVar[Optional[_Call]] = contextvars.ContextVar("tidegate_unrecorded_call", default=None)


def call(function: Function[Any, Any], arguments: dict[str, Any]) -> Any:
    """Executes it, and waits for what it submitted."""
    this = _Call(function)
    token = _call.set(this)
    try:
        try:
            value = function.call_with(function.resolved(arguments))
        finally:
            for child in this.children:
                child._wait(None)
        _execution.check_unseen(function, this.children)
        return value
    finally:
        this.close()
        _call.reset(token)


async def call_async(function: Function[Any, Any], arguments: dict[str, Any]) -> Any:
    """As :func:`call`, for async code."""
    for dependency in dependencies(arguments):
        await dependency
    this = _Call(function)
    token = _call.set(this)
    try:
        try:
            value = await function.call_with(function.resolved(arguments))
        finally:
            for child in this.children:
                await child._ended()
        _execution.check_unseen(function, this.children)
        return value
    finally:
        this.close()
        _call.reset(token)


def submit(function: Function[Any, Any], arguments: dict[str, Any], wait_for: list[Any]) -> Future[Any]:
    """Executes it in the background once what it depends on has ended."""
    future: Future[Any] = Future(function.name)
    parent = _call.get()
    if parent is not None:
        parent.children.append(future)
    needed = dependencies(arguments) + dependencies(wait_for)
    future._needs_loop = function.is_async or any(getattr(each, "_needs_loop", False) for each in needed)
    context = contextvars.copy_context()

    def finish() -> None:
        try:
            _check_upstream(function, needed)
            future._finish(call(function, arguments), None)
        except BaseException as error:
            future._finish(None, error)

    async def finish_async() -> None:
        try:
            _check_upstream(function, needed)
            # The context of who submitted it, which Python 3.10 cannot give to a task.
            running = context.run(asyncio.ensure_future, call_async(function, resolve(arguments)))
            future._finish(await running, None)
        except BaseException as error:
            future._finish(None, error)

    def begin() -> None:
        if function.is_async:
            asyncio.run_coroutine_threadsafe(finish_async(), _background.async_loop())
        else:
            executor = _background.root_executor() if parent is None else parent.executor()
            executor.submit(context.run, finish)

    if needed:
        when_ended(needed, begin)
    else:
        begin()
    return future


def _check_upstream(function: Function[Any, Any], needed: list[Dependency]) -> None:
    for dependency in needed:
        upstream = dependency.result(raise_on_failure=False)
        if isinstance(upstream, BaseException) and has_failed(dependency):
            name = getattr(dependency, "name", dependency.id)
            message = f"`{function.name}` was not executed: it needs the result of `{name}`, which failed: {upstream}"
            raise UpstreamFailed(message, "", "UpstreamFailed", message) from upstream
