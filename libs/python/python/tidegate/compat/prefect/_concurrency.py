"""Slots of concurrency limits."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any, AsyncIterator, Iterator, Optional, Sequence

from ... import blocks
from ...errors import InvalidArgument, NotFound, WaitTimeout


class ConcurrencySlotAcquisitionError(Exception):
    """Slots can not be had: with `strict`, a limit is not there; or it never has so many."""


class AcquireConcurrencySlotTimeoutError(WaitTimeout):
    """Slots were not free in time."""


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
    """Holds `occupy` slots of each of some limits while the block runs; raises TimeoutError when they are not free in time, and
    with `strict` ConcurrencySlotAcquisitionError when a limit is not defined."""
    held = _held(names, occupy, timeout_seconds, lease_duration, strict)
    with ExitStack() as stack:
        if held is not None:
            with _told():
                stack.enter_context(held)
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
    held = _held(names, occupy, timeout_seconds, lease_duration, strict)
    async with AsyncExitStack() as stack:
        if held is not None:
            with _told():
                await stack.enter_async_context(held)
        yield


def rate_limit(
    names: str | Sequence[str], occupy: int = 1, timeout_seconds: Optional[float] = None, strict: bool = False
) -> None:
    """Waits until each of some limits allows `occupy` starts by its rate."""
    with concurrency(names, occupy, timeout_seconds, lease_duration=1, strict=strict):
        pass


async def rate_limit_async(
    names: str | Sequence[str], occupy: int = 1, timeout_seconds: Optional[float] = None, strict: bool = False
) -> None:
    """As :func:`rate_limit`, for async code."""
    async with concurrency_async(names, occupy, timeout_seconds, lease_duration=1, strict=strict):
        pass


def _held(
    names: str | Sequence[str], occupy: int, timeout: Optional[float], lease: float, strict: bool
) -> Optional[blocks.concurrency]:
    listed = [names] if isinstance(names, str) else list(names)
    if not listed:
        return None
    return blocks.concurrency(*listed, timeout=timeout, lease=lease, occupy=occupy, strict=strict)


@contextmanager
def _told() -> Iterator[None]:
    """Has what goes wrong be told as Prefect does."""
    try:
        yield
    except WaitTimeout as error:
        raise AcquireConcurrencySlotTimeoutError(str(error)) from error
    except NotFound as error:
        raise ConcurrencySlotAcquisitionError(f"{error}: with strict=True it has to be there before") from error
    except InvalidArgument as error:
        raise ConcurrencySlotAcquisitionError(str(error)) from error
