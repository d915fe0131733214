"""The run that the present code belongs to."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Optional, Protocol

from . import _core
from .runners import AsyncTaskRunner, TaskRunner, ThreadPoolTaskRunner

if TYPE_CHECKING:
    import asyncio

    from .functions import Function
    from .futures import Future

#: Submitted runs of one parent that execute at once, unless the function says otherwise.
DEFAULT_MAX_WORKERS = 32


class Answer(Protocol):
    """What is waited for: an operation of the core, or one that another process asks of it."""

    def wait(self, seconds: float) -> bool:
        """Waits up to `seconds`; True when it is done."""
        ...

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Has `callback` called when it is done."""
        ...

    def result(self) -> Any:
        """What came of it."""
        ...


class Pauser(Protocol):
    """Has the code of a run wait; the core's, or that of a process which asks its parent."""

    def pause(
        self,
        key: str,
        *,
        timeout: Optional[float] = None,
        suspend: bool = False,
        request: Optional[tuple[str, bytes]] = None,
    ) -> Answer:
        """Begins to wait; the result is what the run is resumed with, as `(encoding, data)`."""
        ...


def facts_of(attempt: _core.Attempt, function: Function[Any, Any], traceparent: str) -> dict[str, Any]:
    """What a :class:`RunContext` is made from for an attempt of a worker: plain data, that may go to another process."""
    return {
        "run_id": attempt.run_id,
        "root_run_id": attempt.root_run_id,
        "parent_run_id": attempt.parent_run_id,
        "kind": attempt.kind,
        "name": attempt.name,
        "attempt": attempt.attempt,
        "epoch": attempt.epoch,
        "traceparent": traceparent,
        "tags": tuple(attempt.tags),
        "log_prints": function.options.log_prints,
        "max_workers": function.options.max_workers,
        "task_runner": function.options.task_runner,
        "is_async": function.is_async,
        "is_queued": True,
    }


class RunContext:
    """What the code of an attempt can know of its run."""

    def __init__(
        self,
        *,
        run_id: str,
        root_run_id: str,
        kind: str,
        name: str,
        attempt: int,
        epoch: int,
        traceparent: str,
        parent_run_id: str = "",
        tags: tuple[str, ...] = (),
        log_prints: bool = False,
        max_workers: int = DEFAULT_MAX_WORKERS,
        task_runner: Optional[TaskRunner] = None,
        pauser: Optional[Pauser] = None,
        is_async: bool = False,
        is_queued: bool = False,
    ) -> None:
        #: The run's id.
        self.run_id = run_id
        #: The uppermost run above it; its own id where there is none.
        self.root_run_id = root_run_id or run_id
        #: The run that started it, or an empty string.
        self.parent_run_id = parent_run_id
        #: ``flow`` or ``task``.
        self.kind = kind
        #: The flow's or task's name.
        self.name = name
        #: The number of this attempt, from 1.
        self.attempt = attempt
        #: W3C trace context that calls from here continue.
        self.traceparent = traceparent
        #: The run's tags.
        self.tags = tags
        #: Its code has ended, and so has what it submitted, as far as that could be ended.
        self._is_over = False
        #: What the code says of its end, should it complete: the message of the state.
        self._said = ""
        #: What its code is called with, by name.
        self.parameters: dict[str, Any] = {}
        self._log_prints = log_prints
        self._runner = task_runner or ThreadPoolTaskRunner(max_workers)
        self._async_slots: Optional[asyncio.Semaphore] = None
        self._pauser = pauser
        self._is_async = is_async
        self._is_queued = is_queued
        self._lock = threading.Lock()
        #: Numbers the calls of this attempt: a later one that makes the same finds their runs.
        self._calls = _core.ChildCalls(run_id, epoch)
        #: Under which the attempt has its run.
        self._epoch = epoch
        self._pool: Optional[ThreadPoolExecutor] = None
        self._cancelled: list[Callable[[], None]] = []
        self._children: list[Future[Any]] = []
        #: The run whose code made this one.
        self._caller = _current.get()
        #: Another process has it, from which this one was forked.
        self._is_elsewhere = False

    def _leave_to_parent(self) -> None:
        """In a forked child: its threads, and what they execute, are not here."""
        self._is_elsewhere = True
        self._lock = threading.Lock()
        self._pool = None
        self._cancelled, self._children = [], []

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run_id

    def _executor(self) -> ThreadPoolExecutor:
        """Of this run alone: runs that wait for their own children can so never take each other's threads."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._runner._n_threads, thread_name_prefix=f"tidegate-{self.name}")
            return self._pool

    @asynccontextmanager
    async def _async_slot(self) -> AsyncIterator[None]:
        """Around a submitted async run, in the one event loop that executes them."""
        if not isinstance(self._runner, AsyncTaskRunner):
            yield
            return
        if self._async_slots is None:
            import asyncio

            self._async_slots = asyncio.Semaphore(self._runner.max_concurrency)
        async with self._async_slots:
            yield

    def _add_child(self, future: Future[Any]) -> None:
        with self._lock:
            self._children.append(future)

    def _children_so_far(self) -> list[Future[Any]]:
        """The children so far; they stay."""
        with self._lock:
            return list(self._children)

    def _take_children(self) -> list[Future[Any]]:
        with self._lock:
            children, self._children = self._children, []
            return children

    def _close(self, cancel: bool = False) -> None:
        """No more is submitted. With `cancel`, what has not begun never does."""
        with self._lock:
            pool = self._pool
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=cancel)
        self._tell_cancelled()

    def _if_cancelled(self, begun: concurrent.futures.Future[None], then: Callable[[], None]) -> None:
        """Has `then` called when :meth:`_close` keeps `begun` from its beginning."""
        # Not in the callback itself: the pool has its lock then, and `then` may want to submit.
        begun.add_done_callback(lambda begun: self._cancelled.append(then) if begun.cancelled() else None)
        if begun.cancelled():
            self._tell_cancelled()

    def _tell_cancelled(self) -> None:
        while True:
            try:
                then = self._cancelled.pop()
            except IndexError:
                return
            then()


_current: ContextVar[Optional[RunContext]] = ContextVar("tidegate_run", default=None)


def current_run() -> Optional[RunContext]:
    """The run that the calling code belongs to: its id, attempt, parent and so on. None outside of any run."""
    return _current.get()


def _forget_after_fork() -> None:
    run = _current.get()
    while run is not None:
        run._leave_to_parent()
        run = run._caller


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
