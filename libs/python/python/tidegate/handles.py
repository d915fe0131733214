"""Queued runs, by their ids."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any, Generator, Generic, Iterable, Literal, Optional, Sequence, TypeVar, Union, overload

from . import _core, _payload, _progress
from ._connection import awaited, block, client
from ._lazy import asyncio
from .errors import InvalidArgument, TidegateError, WaitTimeout, WouldDeadlock, _of_ended_run
from .states import State


R = TypeVar("R")


class RunHandle(Generic[R]):
    """A run, by its id: valid in any process, at any time.

    ``handle.result()`` waits in plain code, ``await handle`` in async code.
    """

    __slots__ = ("_ended", "created", "id")

    def __init__(self, run_id: str, created: Optional[bool] = None) -> None:
        #: The run's id.
        self.id = run_id
        #: Whether the call that gave this handle made the run. False: it was there, by its idempotency key, or because an
        #: earlier attempt of the parent had made it. None for one that was found by its id.
        self.created = created
        self._ended: Optional[_core.Run] = None

    @overload
    def result(self, timeout: Optional[float] = None, raise_on_failure: Literal[True] = True) -> R: ...
    @overload
    def result(self, timeout: Optional[float] = None, *, raise_on_failure: bool) -> Union[R, BaseException]: ...
    @overload
    def result(self, timeout: Optional[float], raise_on_failure: bool) -> Union[R, BaseException]: ...
    def result(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> Union[R, BaseException]:
        """What the run returned, once it has ended; `timeout` in seconds.

        Raises :class:`RunFailed`, :class:`RunCrashed` or :class:`RunCancelled` when it ended so (with
        `raise_on_failure=False` that exception is returned instead), and :class:`WaitTimeout`.
        """
        result: Union[R, BaseException] = _result(self._wait(timeout), raise_on_failure)
        return result

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits for the run's end, however it ends; False when `timeout` seconds passed first."""
        try:
            self._wait(timeout)
        except WaitTimeout:
            return False
        return True

    def done(self) -> bool:
        """True when the run has ended."""
        return self._ended is not None or self.state.is_ended()

    @property
    def state(self) -> State:
        """Where the run stands now."""
        run: _core.Run = block(client().peek_run(self.id)) if self._ended is None else self._ended
        return _state(run)

    def run(self) -> _core.Run:
        """The run in full, as it is now."""
        if self._ended is not None:
            return self._ended
        run: _core.Run = block(client().get_run(self.id))
        return self._keep(run)

    def cancel(self, reason: str = "") -> int:
        """Cancels the run and its descendants; how many that were."""
        n: int = block(client().cancel(self.id, reason))
        return n

    def pause(self, timeout: Optional[float] = None, reason: str = "") -> None:
        """Has a queued run wait until it is resumed; with `timeout`, it fails after so many seconds."""
        block(client().pause(self.id, timeout, reason))

    def resume(self, value: Any = None) -> None:
        """Has a paused run go on; `value` is what its `pause()` gives."""
        encoded = None if value is None else _payload.encode(value, f"what run {self.id} is resumed with")
        block(client().resume(self.id, encoded))

    def retry(self, reason: str = "") -> None:
        """Has a queued run that has ended executed once more, as its next attempt; `result()` then waits for that one."""
        block(client().retry(self.id, reason))
        self._forget_end()

    def logs(self) -> list[str]:
        """The stored lines of the run's log, oldest first; at most 1,000."""
        return [message for _, _, message, _, _ in block(client().query_logs(self.id))]

    async def result_async(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> Any:
        """As :meth:`result`, to be awaited."""
        if self._ended is None:
            try:
                self._keep(await asyncio.wait_for(awaited(client().wait(self.id)), timeout))
            except asyncio.TimeoutError:
                raise WaitTimeout(f"run {self.id} has not ended within {timeout:g} s") from None
        assert self._ended is not None
        return _result(self._ended, raise_on_failure)

    async def wait_async(self, timeout: Optional[float] = None) -> bool:
        """As :meth:`wait`, to be awaited."""
        try:
            await self.result_async(timeout, raise_on_failure=False)
        except WaitTimeout:
            return False
        return True

    async def state_async(self) -> State:
        """As :attr:`state`, to be awaited."""
        run: _core.Run = await awaited(client().peek_run(self.id)) if self._ended is None else self._ended
        return _state(run)

    async def run_async(self) -> _core.Run:
        """As :meth:`run`, to be awaited."""
        return self._ended or self._keep(await awaited(client().get_run(self.id)))

    async def cancel_async(self, reason: str = "") -> int:
        """As :meth:`cancel`, to be awaited."""
        n: int = await awaited(client().cancel(self.id, reason))
        return n

    async def pause_async(self, timeout: Optional[float] = None, reason: str = "") -> None:
        """As :meth:`pause`, to be awaited."""
        await awaited(client().pause(self.id, timeout, reason))

    async def resume_async(self, value: Any = None) -> None:
        """As :meth:`resume`, to be awaited."""
        encoded = None if value is None else _payload.encode(value, f"what run {self.id} is resumed with")
        await awaited(client().resume(self.id, encoded))

    async def retry_async(self, reason: str = "") -> None:
        """As :meth:`retry`, to be awaited."""
        await awaited(client().retry(self.id, reason))
        self._forget_end()

    async def logs_async(self) -> list[str]:
        """As :meth:`logs`, to be awaited."""
        return [message for _, _, message, _, _ in await awaited(client().query_logs(self.id))]

    def __await__(self) -> Generator[Any, None, R]:
        return self._await().__await__()

    async def _await(self) -> R:
        if self._ended is None:
            self._keep(await awaited(client().wait(self.id)))
        assert self._ended is not None
        value: R = _result(self._ended, True)
        return value

    def _wait(self, timeout: Optional[float]) -> _core.Run:
        if self._ended is None:
            check_loop([self], "`await handle` (or `await handle.result_async()`)", "`handle.result()`")
            run: _core.Run = block(client().wait(self.id), timeout, f"run {self.id}")
            self._keep(run)
            return run
        return self._ended

    def _keep(self, run: _core.Run) -> _core.Run:
        if State(*run.state).is_ended():
            self._ended = run
        return run

    def _forget_end(self) -> None:
        """It goes on: whoever waits, waits for its next end."""
        self._ended = None

    def __repr__(self) -> str:
        return f"RunHandle({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


def get_run(run_id: str) -> RunHandle[Any]:
    """A run that is there already, started by whatever process. Its methods raise :class:`NotFound` if it is not."""
    try:
        return RunHandle(str(uuid.UUID(run_id)))
    except (ValueError, AttributeError, TypeError):
        raise InvalidArgument(f"`{run_id}` is not the id of a run, such as 0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b") from None


@overload
def gather(
    handles: Iterable[RunHandle[R]], timeout: Optional[float] = None, raise_on_failure: Literal[True] = True
) -> list[R]: ...
@overload
def gather(
    handles: Iterable[RunHandle[R]], timeout: Optional[float] = None, *, raise_on_failure: bool
) -> list[Union[R, BaseException]]: ...
@overload
def gather(
    handles: Iterable[RunHandle[R]], timeout: Optional[float], raise_on_failure: bool
) -> list[Union[R, BaseException]]: ...
def gather(
    handles: Iterable[RunHandle[R]], timeout: Optional[float] = None, raise_on_failure: bool = True
) -> list[Any]:
    """The results of many runs in order, once all have ended: one wait for all of them, also for 10,000."""
    handles = checked_waits("gather", handles, (RunHandle,))
    check_loop(handles, "`await asyncio.gather(*handles)`", "`gather(handles)`")
    with _progress.shown(_follow(handles)):
        runs = block(client().wait_many([handle.id for handle in handles]), timeout, f"one of {len(handles)} runs")
    return [_result(handle._keep(run), raise_on_failure) for handle, run in zip(handles, runs)]


def checked_waits(what: str, given: Any, kinds: tuple[type, ...]) -> list[Any]:
    """What the function `what` is to wait for, as a list; raises where it is something else."""
    takes = "futures and run handles, as .submit(), .map() and .delay() give them"
    if kinds == (RunHandle,):
        takes = "run handles, as .delay() and .delay_map() give them; for those of .submit() and .map() there is wait()"
    if not isinstance(given, Iterable):
        raise InvalidArgument(f"{what}(...) is {given!r}: it takes a list of {takes}")
    items = list(given)
    for idx, item in enumerate(items):
        if not isinstance(item, kinds):
            raise InvalidArgument(f"{what}([...]): item {idx} is {item!r}: it takes {takes}")
    return items


def check_loop(handles: Sequence[RunHandle[Any]], mend: str, written: str) -> None:
    """Raises where the calling code would wait in the event loop that the async code of this process shares."""
    if is_in_async_loop() and any(handle._ended is None for handle in handles):
        what = f"run {handles[0].id}" if len(handles) == 1 else f"{len(handles)} runs"
        raise WouldDeadlock(
            f"this code would wait for {what} and hold up the event loop in which other async flows and tasks of this process are "
            f"executed: write {mend} instead of {written}"
        )


def is_in_async_loop() -> bool:
    """True for code that runs in the event loop that the async code of this process shares."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    from . import _background

    return _background.is_async_loop(loop)


def _follow(handles: list[RunHandle[Any]]) -> Optional[_progress.Group]:
    """Shows how far the runs are."""
    group = _progress.begin("gather", len(handles))
    if group is None:
        return None

    def has_ended(op: _core.Op) -> None:
        try:
            group.one_ended(not State(*op.result().state).is_completed())
        except TidegateError:  # such as that there is no such run; who waits is told
            group.one_ended(True)

    for handle in handles:
        op = client().wait(handle.id)
        op.subscribe(partial(has_ended, op))
    return group


def _state(run: _core.Run) -> State:
    """Where a run stands; of one that has completed without keeping its result, also that."""
    state = State(*run.state)
    if state.is_completed() and not state.message and run.result is not None and not _payload.is_kept(run.result):
        return state._replace(message=f"the result was not kept: {_payload.why_not_kept(run.result[0])}")
    return state


def _result(run: _core.Run, raise_on_failure: bool) -> Any:
    error = _of_ended_run(run.id, run.name, run.state, run.failure)
    if error is None:
        return _payload.decode(run.result, f"the result of run {run.id}")
    if raise_on_failure:
        raise error
    return error
