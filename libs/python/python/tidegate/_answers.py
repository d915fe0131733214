"""Answers of the core to plain and to async code alike."""

from __future__ import annotations

import asyncio
from typing import Any, Callable

from . import _core
from ._connection import awaited, block


def in_event_loop() -> bool:
    """True where an event loop runs in this thread, so that nothing may wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def answer(op: _core.Op, then: Callable[[Any], Any]) -> Any:
    """What `then` makes of the operation's result; where an event loop runs, an awaitable of it. The operation goes on
    also where nobody awaits it."""
    return later(op, then) if in_event_loop() else then(block(op))


async def later(op: _core.Op, then: Callable[[Any], Any]) -> Any:
    """As :func:`answer`, for async code."""
    return then(await awaited(op))
