"""Slots of concurrency limits."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any, AsyncIterator, Iterator, Optional, Sequence

from ... import blocks


@contextmanager
def concurrency(
    names: str | Sequence[str],
    occupy: int = 1,
    timeout_seconds: Optional[float] = None,
    max_retries: Optional[int] = None,
    lease_duration: float = 300,
    strict: bool = False,
    **others: Any,
) -> Iterator[None]:
    """Holds slots of each of some limits while the block runs; raises TimeoutError when they are not free in time."""
    _check(occupy, strict)
    with blocks.concurrency(*_list(names), timeout=timeout_seconds, lease=lease_duration) if names else ExitStack():
        yield


@asynccontextmanager
async def concurrency_async(
    names: str | Sequence[str],
    occupy: int = 1,
    timeout_seconds: Optional[float] = None,
    max_retries: Optional[int] = None,
    lease_duration: float = 300,
    strict: bool = False,
    **others: Any,
) -> AsyncIterator[None]:
    """As :func:`concurrency`, for async code."""
    _check(occupy, strict)
    async with blocks.concurrency(*_list(names), timeout=timeout_seconds, lease=lease_duration) if names else AsyncExitStack():
        yield


def rate_limit(
    names: str | Sequence[str], occupy: int = 1, timeout_seconds: Optional[float] = None, strict: bool = False
) -> None:
    """Waits until each of some limits allows a start by its rate, `occupy` times."""
    _check(1, strict)
    for _ in range(occupy):
        with blocks.concurrency(*_list(names), timeout=timeout_seconds, lease=1):
            pass


async def rate_limit_async(
    names: str | Sequence[str], occupy: int = 1, timeout_seconds: Optional[float] = None, strict: bool = False
) -> None:
    """As :func:`rate_limit`, for async code."""
    _check(1, strict)
    for _ in range(occupy):
        async with blocks.concurrency(*_list(names), timeout=timeout_seconds, lease=1):
            pass


def _list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _check(occupy: int, strict: bool) -> None:
    if occupy != 1:
        raise NotImplementedError(f"concurrency(occupy={occupy}): Tidegate takes one slot of a limit at a time")
    if strict:
        raise NotImplementedError("concurrency(strict=True): a limit that is not defined does not bind in Tidegate")
