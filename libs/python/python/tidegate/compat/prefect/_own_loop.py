"""Async code on an event loop of its own, in the thread that it was given.

Async flows and tasks of Prefect may block: on `.result()`, on a lock, on a slow library. On the loop that Tidegate's async
code shares they would stop each other, so those that are submitted or served run here. One that is awaited runs on the
loop of who awaits it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Coroutine

from ... import _interrupt
from ..._connection import SLICE_SECONDS
from ...errors import Interrupted


def run(code: Coroutine[Any, Any, Any]) -> Any:
    """Awaits `code`. When its run is interrupted, the code is cancelled at its next await."""
    control = getattr(_interrupt._innermost, "control", None)

    async def watched() -> Any:
        loop = asyncio.get_running_loop()
        main = asyncio.ensure_future(code)

        def look() -> None:
            # A loop that waits executes no step of Python between which the thread could be interrupted.
            if control is not None and control.stopped is not None:
                main.cancel()
            else:
                loop.call_later(SLICE_SECONDS, look)

        loop.set_exception_handler(_cancel_if_interrupted(main))
        look()
        try:
            return await main
        except asyncio.CancelledError:
            if control is not None and control.stopped is not None:
                raise Interrupted from None
            raise

    return asyncio.run(watched())


def _cancel_if_interrupted(main: asyncio.Future[Any]) -> Any:
    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # The interrupt came in the midst of a callback of the loop.
        if isinstance(context.get("exception"), Interrupted):
            main.cancel()
        else:
            loop.default_exception_handler(context)

    return handle
