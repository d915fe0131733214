"""Blocks of code that share slots with other code and with runs, and code that keeps to a rate."""

from __future__ import annotations

from contextlib import contextmanager
from types import TracebackType
from typing import Any, Iterator, Optional

from . import _core
from ._connection import awaited, block, client
from ._lazy import asyncio
from ._runtime import current_run
from .errors import InvalidArgument, SlotsLost, WaitTimeout

#: How long slots are held after the process was heard of last, in seconds.
DEFAULT_LEASE = 30.0
#: What the server calls `occupy`.
_FIELD = "slot_count: "
#: The most slots that a limit can have.
_MAX_SLOTS = 1_000_000
#: The least that a lease can be, in seconds.
_MIN_LEASE = 1.0


class concurrency:  # noqa: N801 - it reads as a statement
    """Holds slots of each of some concurrency limits while a block runs, inside and outside of runs.

        with concurrency("db", timeout=60):
            ...

    In async code `async with`. All of the slots are taken, or none; those who wait are served in the order in which they
    came, in one line with runs that name the limits. A limit with a rate also takes a token of it. A process that dies
    gives its slots up when its lease ends. What is raised when the lease ended while the block still ran, as no server
    could be reached: :class:`SlotsLost`, at the end of the block, unless the block itself raised; `lost` tells before.

    :param names: the limits. One that is not defined does not bind, unless `strict`.
    :param lease: how long the slots are held after the process was heard of last, in seconds: 1 to 3,600. It is heard of
        every third of that, by a thread of its own.
    :param timeout: how long to wait for the slots, in seconds, before :class:`WaitTimeout` is raised. Default: for as
        long as it takes.
    :param occupy: how many slots of each limit it takes, and tokens of its rate. While it waits for so many, those that
        came later do not get what comes free; so a block in it that wants more than are left, as the block around it has the
        others, waits for ever, and with it all others. More than a limit has are an :class:`InvalidArgument`.
    :param strict: a limit that is not defined is an error, :class:`NotFound`, which names it.
    """

    def __init__(
        self,
        *names: str,
        lease: float = DEFAULT_LEASE,
        timeout: Optional[float] = None,
        occupy: int = 1,
        strict: bool = False,
    ) -> None:
        if not names or not all(isinstance(name, str) for name in names):
            raise InvalidArgument("concurrency() needs the names of the limits: concurrency(\"db\")")
        _check_occupy("concurrency", occupy)
        self._names = list(names)
        self._occupy = occupy
        self._strict = strict
        self._lease = lease
        self._timeout = timeout
        self._slots: list[_core.Slots] = []

    @property
    def lost(self) -> bool:
        """True where others may have the slots of the block by now."""
        return any(slots.is_lost for slots in self._slots)

    def __enter__(self) -> concurrency:
        with self._worded():
            self._slots.append(self._got(block(self._acquire())))
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._check(block(self._slots.pop().release()), error)

    async def __aenter__(self) -> concurrency:
        with self._worded():
            self._slots.append(self._got(await awaited(self._acquire())))
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._check(await awaited(self._slots.pop().release()), error)

    def _acquire(self) -> _core.Op:
        run = current_run()
        return client().acquire_slots(
            self._names,
            lease=self._lease,
            timeout=self._timeout,
            run_id=run.run_id if run else "",
            n_slots=self._occupy,
            must_exist=self._strict,
        )

    @contextmanager
    def _worded(self) -> Iterator[None]:
        """Names the option in what the server says of its field."""
        try:
            yield
        except InvalidArgument as error:
            if not str(error).startswith(_FIELD):
                raise
            raise InvalidArgument(f"occupy={self._occupy}: {str(error).removeprefix(_FIELD)}") from None

    def _got(self, slots: Optional[_core.Slots]) -> _core.Slots:
        if slots is None:
            wanted = "nothing" if self._occupy == 1 else f"no {self._occupy} slots"
            raise WaitTimeout(f"{self._what()} had {wanted} left for {self._timeout or 0:g} s")
        return slots

    def _what(self) -> str:
        names = ", ".join(f"`{name}`" for name in self._names)
        return f"the concurrency limit{'s' if len(self._names) > 1 else ''} {names}"

    def _check(self, had: bool, error: Optional[BaseException]) -> None:
        if not had and error is None:
            raise SlotsLost(
                f"the lease of the slots of {self._what()} ended before the block did: no server heard of this process "
                f"for {self._lease:g} s, and others may have had the slots meanwhile"
            )


def rate_limit(*names: str, timeout: Optional[float] = None, occupy: int = 1, strict: bool = False) -> Any:
    """Waits until each of these concurrency limits allows a start by its rate, and takes a token of each. Nothing is held.

    In async code await it.

    :param timeout: how long to wait, in seconds, before :class:`WaitTimeout` is raised. Default: for as long as it takes.
    :param occupy: how many tokens of each it takes: of something that counts for several starts.
    :param strict: a limit that is not defined is an error, :class:`NotFound`, which names it.
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise InvalidArgument("rate_limit() needs the names of the limits: rate_limit(\"api\")")
    _check_occupy("rate_limit", occupy)
    held = concurrency(*names, lease=_MIN_LEASE, timeout=timeout, occupy=occupy, strict=strict)
    # The tokens are gone when they are taken; what becomes of slots is of no interest.
    return _take_async(held) if _is_async() else _take(held)


def _check_occupy(what: str, occupy: Any) -> None:
    if isinstance(occupy, bool) or not isinstance(occupy, int) or not 1 <= occupy <= _MAX_SLOTS:
        raise InvalidArgument(f"{what}(occupy={occupy!r}): it is how many slots are taken, a whole number from 1 to {_MAX_SLOTS}")


def _take(held: concurrency) -> None:
    with held:
        pass


async def _take_async(held: concurrency) -> None:
    async with held:
        pass


def _is_async() -> bool:
    run = current_run()
    if run is not None:
        return run._is_async
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
