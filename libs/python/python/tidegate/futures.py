"""Futures of submitted runs."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pickle import PicklingError
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Generator,
    Generic,
    Iterable,
    Iterator,
    Literal,
    NamedTuple,
    Optional,
    TypeVar,
    Union,
    overload,
)

from . import _progress
from ._connection import SLICE_SECONDS, client
from ._lazy import asyncio
from .errors import (
    RunCancelled,
    RunCrashed,
    RunError,
    RunFailed,
    TidegateError,
    UpstreamFailed,
    WaitTimeout,
    WouldDeadlock,
)
from .handles import RunHandle, check_loop, checked_waits, is_in_async_loop
from .states import State

if TYPE_CHECKING:
    from ._runtime import RunContext

R = TypeVar("R")


class Future(Generic[R]):
    """The outcome, to be, of a submitted run.

    Where its run has raised, `result()` raises the same exception. A future that failed and that nobody has looked at
    makes the run that submitted it fail.
    """

    def __init__(self, name: str) -> None:
        #: The flow's or task's name.
        self.name = name
        #: The run's id; None while the run waits for what its arguments depend on.
        self.id: Optional[str] = None
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._callbacks: list[Callable[[Future[R]], None]] = []
        self._value: Any = None
        self._error: Optional[BaseException] = None
        self._running = False
        #: Where it stands while it does not run.
        self._waits = State("PENDING", "Pending")
        #: The name of the state that it has ended in, where neither its value nor its error tells.
        self._found = ""
        #: What its code, which has completed, says of its end.
        self._said = ""
        self._seen = False
        #: The run that submitted it.
        self._parent: Optional[RunContext] = None
        #: Its code, or that of what it waits for, is executed by the event loop of this package.
        self._needs_loop = False
        self._pid = os.getpid()

    @overload
    def result(self, timeout: Optional[float] = None, raise_on_failure: Literal[True] = True) -> R: ...
    @overload
    def result(self, timeout: Optional[float] = None, *, raise_on_failure: bool) -> Union[R, BaseException]: ...
    @overload
    def result(self, timeout: Optional[float], raise_on_failure: bool) -> Union[R, BaseException]: ...
    def result(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> Union[R, BaseException]:
        """What the run returned, once it has ended; `timeout` in seconds.

        With `raise_on_failure=False` an exception of the run is returned instead of raised.
        """
        self._seen = True
        if not self.wait(timeout):
            raise WaitTimeout(f"`{self.name}` has not ended within {timeout:g} s")
        if self._error is None:
            value: R = self._value
            return value
        if raise_on_failure:
            raise self._error
        return self._error

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits for the run's end, however it ends; False when `timeout` seconds passed first."""
        self._seen = True
        return self._wait(timeout)

    def _wait(self, timeout: Optional[float]) -> bool:
        if self._pid != os.getpid() and not self._finished.is_set():
            raise TidegateError(
                f"`{self.name}` was submitted by the process from which this one was forked: ask for its result there"
            )
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._needs_loop and not self._finished.is_set():
            self._check_loop()
        # In slices, so that an interrupt of this run is noticed.
        while not self._finished.is_set():
            self._check_parent()
            left = SLICE_SECONDS if deadline is None else min(SLICE_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return False
            self._finished.wait(left)
        return True

    def _check_loop(self) -> None:
        """Raises where the calling code holds up the event loop that is to execute what it waits for."""
        if is_in_async_loop():
            raise WouldDeadlock(
                f"the future of `{self.name}` would never end: this code waits for it in the event loop that is to execute it. "
                "Write `await future` (or `await future.result_async()`) instead of `future.result()`"
            )

    def _check_parent(self) -> None:
        parent = self._parent
        if parent is not None and parent._is_over and not self._finished.is_set():
            raise RunCancelled(
                f"the future of `{self.name}` is used after the {parent.kind} `{parent.name}` (run {parent.run_id}) that "
                "submitted it was stopped, and it had not ended then: nobody will say how it ends. Ask for its result in the "
                "code of that run, or use .delay(), whose handles are valid in any process",
                self.id or "",
            )

    async def result_async(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> Any:
        """As :meth:`result`, to be awaited."""
        self._seen = True
        if not await self.wait_async(timeout):
            raise WaitTimeout(f"`{self.name}` has not ended within {timeout:g} s")
        return self.result(raise_on_failure=raise_on_failure)

    async def wait_async(self, timeout: Optional[float] = None) -> bool:
        """As :meth:`wait`, to be awaited."""
        self._seen = True
        if not self._finished.is_set():
            self._check_parent()
            try:
                await asyncio.wait_for(self._ended(), timeout)
            except asyncio.TimeoutError:
                return self._finished.is_set()
        return True

    def done(self) -> bool:
        """True when the run has ended."""
        return self._finished.is_set()

    @property
    def state(self) -> State:
        """Where the run stands now."""
        self._seen = True
        if not self._finished.is_set():
            return State("RUNNING", "Running") if self._running else self._waits
        error = self._error
        if error is None:
            return State("COMPLETED", self._found or "Completed", self._said)
        # Code that lets the error of another run pass has failed, however that run ended.
        is_own = isinstance(error, RunError) and error.run_id in ("", self.id)
        if is_own and isinstance(error, RunCancelled):
            return State("CANCELLED", "Cancelled", str(error))
        if is_own and isinstance(error, RunCrashed):
            return State("CRASHED", "Crashed", str(error))
        if is_own and isinstance(error, UpstreamFailed):
            return State("FAILED", self._found or "UpstreamFailed", str(error))
        if is_own and isinstance(error, RunFailed) and error.error_type == "TimedOut":
            return State("FAILED", "TimedOut", str(error))
        return State("FAILED", "Failed", str(error))

    def add_done_callback(self, callback: Callable[[Future[R]], None]) -> None:
        """Has `callback` called with this future once it is done, in whatever thread; at once if it is done already."""
        with self._lock:
            if not self._finished.is_set():
                self._callbacks.append(callback)
                return
        callback(self)

    def __await__(self) -> Generator[Any, None, R]:
        return self._await().__await__()

    async def _await(self) -> R:
        self._seen = True
        self._check_parent()
        await self._ended()
        return self.result()

    async def _ended(self) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def wake(_: Future[R]) -> None:
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:
                pass  # the loop has ended, and who waited with it

        self.add_done_callback(wake)
        await ended.wait()

    def _finish(self, value: Optional[R], error: Optional[BaseException]) -> None:
        with self._lock:
            self._value, self._error = value, error
            self._finished.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def __reduce__(self) -> Any:
        raise PicklingError(
            f"the future of `{self.name}` belongs to the process that submitted it and cannot travel: pass its result, or its "
            "id for get_run(id)"
        )

    def __repr__(self) -> str:
        return f"<Future {self.name} {self.id or ''} {'done' if self.done() else 'not done'}>"


class FutureList(list[Future[R]]):
    """What `.map()` gives: a list of futures that can be asked as one."""

    def result(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> list[Any]:
        """All results in order, once all have ended; `timeout` in seconds is for all of them together.

        The first failure in order is raised; with `raise_on_failure=False` exceptions stand in the place of results.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        return [future.result(_left(deadline), raise_on_failure) for future in self]

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits until all have ended; False when `timeout` seconds passed first."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return all([future.wait(_left(deadline)) for future in self])

    async def result_async(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> list[Any]:
        """As :meth:`result`, to be awaited."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return [await future.result_async(_left(deadline), raise_on_failure) for future in self]

    async def wait_async(self, timeout: Optional[float] = None) -> bool:
        """As :meth:`wait`, to be awaited."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return all([await future.wait_async(_left(deadline)) for future in self])


class unmapped(Generic[R]):
    """In the arguments of `.map()`: the same value for every call, also where it is iterable."""

    def __init__(self, value: R) -> None:
        #: The value.
        self.value = value

    def __repr__(self) -> str:
        return f"unmapped({self.value!r})"


#: A future, or a run that a worker executes.
Waited = TypeVar("Waited", bound=Union[Future[Any], RunHandle[Any]])


class DoneAndNotDone(NamedTuple):
    """What :func:`wait` gives."""

    #: Those that have ended.
    done: set[Any]
    #: The others.
    not_done: set[Any]


def wait(futures: Iterable[Union[Future[Any], RunHandle[Any]]], timeout: Optional[float] = None) -> DoneAndNotDone:
    """Waits until all `futures` have ended, or `timeout` seconds have passed. Handles of runs may be among them."""
    futures = checked_waits("wait", futures, (Future, RunHandle))
    deadline = None if timeout is None else time.monotonic() + timeout
    with _progress.shown(_progress.follow("wait", (each for each in futures if isinstance(each, Future)))):
        for future in futures:
            if not future.wait(_left(deadline)):
                break
    done = {future for future in futures if future.done()}
    return DoneAndNotDone(done, set(futures) - done)


def as_completed(futures: Iterable[Waited], timeout: Optional[float] = None) -> Iterator[Waited]:
    """Gives `futures`, also handles of runs, as they end. Raises :class:`WaitTimeout` when not all have within `timeout`
    seconds."""
    futures = checked_waits("as_completed", futures, (Future, RunHandle))
    deadline = None if timeout is None else time.monotonic() + timeout
    ended: list[Any] = []
    changed = threading.Condition()
    ops = []
    handles: list[RunHandle[Any]] = [each for each in futures if isinstance(each, RunHandle)]
    check_loop(handles, "`for each in asyncio.as_completed(handles): await each`", "`as_completed(handles)`")

    def note(future: Any) -> None:
        with changed:
            ended.append(future)
            changed.notify()

    for future in futures:
        if isinstance(future, RunHandle):
            op = client().wait(future.id)
            op.subscribe(partial(note, future))
            ops.append(op)
        else:
            if future._needs_loop and not future.done():
                future._check_loop()
            future._seen = True
            future.add_done_callback(note)
    for _ in futures:
        with changed:
            while not ended:
                left = SLICE_SECONDS if deadline is None else min(SLICE_SECONDS, deadline - time.monotonic())
                if left <= 0:
                    raise WaitTimeout(f"not all futures have ended within {timeout:g} s")
                changed.wait(left)
            ended_first = ended.pop(0)
        yield ended_first


def _left(deadline: Optional[float]) -> Optional[float]:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
