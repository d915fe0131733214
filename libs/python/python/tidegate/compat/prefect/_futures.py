"""Futures of submitted and delayed runs."""

from __future__ import annotations

import operator
import uuid
from typing import Any, Callable, Generic, Iterable, Iterator, NamedTuple, Optional, TypeVar, Union

from ... import futures
from ...errors import PayloadError, WaitTimeout
from ...futures import Future
from ...handles import RunHandle
from . import _states
from ._calls import in_thread
from ._errors import MissingResult, UnfinishedRun, translated
from ._states import State

R = TypeVar("R")
#: What Tidegate has for a run to come.
Source = Union[Future[Any], RunHandle[Any]]


class PrefectFuture(Generic[R]):
    """The outcome, to be, of a run."""

    kind = "task"

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def task_run_id(self) -> Optional[uuid.UUID]:
        """The run's id; None while a submitted run waits for what it depends on."""
        return None if self._source.id is None else uuid.UUID(self._source.id)

    @property
    def state(self) -> State:
        """Where the run stands now."""
        source = self._source
        if isinstance(source, RunHandle):
            return _states.of_run(source.id, self.kind, source.state)
        if not source.done():
            return State(*source.state)
        try:
            return State("COMPLETED", source._found or None, source._said or None, data=self.result())
        except BaseException as error:
            return _states.of_error(error)

    def wait(self, timeout: Optional[float] = None) -> None:
        """Waits for the run's end, however it ends, or until `timeout` seconds have passed."""
        self._source.wait(timeout)

    def result(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> R:
        """What the run returned, once it has ended. What it raised is raised, or given with `raise_on_failure=False`."""
        outcome: Any
        try:
            outcome = self._source.result(timeout)
        except WaitTimeout:
            raise
        except PayloadError as error:
            raise MissingResult(str(error)) from error
        except Exception as error:
            outcome = translated(error)
            if raise_on_failure:
                raise outcome from None
        return outcome  # type: ignore[no-any-return] # the exception too, where it was asked for

    async def wait_async(self, timeout: Optional[float] = None) -> None:
        """As :meth:`wait`."""
        await in_thread(self.wait)(timeout)

    async def result_async(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> R:
        """As :meth:`result`."""
        return await in_thread(self.result)(timeout, raise_on_failure)  # type: ignore[no-any-return]

    aresult = result_async

    def add_done_callback(self, fn: Callable[[PrefectFuture[R]], None]) -> None:
        """Has `fn` called with this future once the run has ended."""
        when_ended(self._source, lambda: fn(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrefectFuture) and other._source == self._source

    def __hash__(self) -> int:
        return hash(self._source)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._source.id})"


class PrefectConcurrentFuture(PrefectFuture[R]):
    """That of a run of this process."""


class PrefectDistributedFuture(PrefectFuture[R]):
    """That of a run of a worker. It can be made of its id alone: ``PrefectDistributedFuture(task_run_id=…)``."""

    def __init__(self, task_run_id: uuid.UUID | str | RunHandle[Any]) -> None:
        super().__init__(task_run_id if isinstance(task_run_id, RunHandle) else RunHandle(str(task_run_id)))


class PrefectFlowRunFuture(PrefectFuture[R]):
    """That of a flow run."""

    kind = "flow"

    def __init__(self, flow_run_id: uuid.UUID | str | Source) -> None:
        is_source = isinstance(flow_run_id, (Future, RunHandle))
        super().__init__(flow_run_id if is_source else RunHandle(str(flow_run_id)))  # type: ignore[arg-type]

    @property
    def flow_run_id(self) -> Optional[uuid.UUID]:
        """The run's id; None while a submitted run waits for what it depends on."""
        return self.task_run_id


class PrefectFutureList(list[PrefectFuture[R]]):
    """What `map` gives."""

    def wait(self, timeout: Optional[float] = None) -> None:
        """Waits for the end of all."""
        wait(self, timeout)

    def result(self, timeout: Optional[float] = None, raise_on_failure: bool = True) -> list[R]:
        """The results in order."""
        ended = wait(self, timeout)
        if ended.not_done:
            raise TimeoutError(f"{len(ended.not_done)} of {len(self)} futures have not ended within {timeout:g} s")
        return [future.result(raise_on_failure=raise_on_failure) for future in self]


class DoneAndNotDoneFutures(NamedTuple):
    """What :func:`wait` gives."""

    #: Those that have ended.
    done: set[PrefectFuture[Any]]
    #: The others.
    not_done: set[PrefectFuture[Any]]


def wait(futures: Iterable[PrefectFuture[Any]], timeout: Optional[float] = None) -> DoneAndNotDoneFutures:
    """Waits until all `futures` have ended, or `timeout` seconds have passed."""
    by_source = {_as_future(future._source): future for future in futures}
    ended = _wait(by_source, timeout)
    return DoneAndNotDoneFutures(
        {by_source[source] for source in ended.done}, {by_source[source] for source in ended.not_done}
    )


def as_completed(
    futures: Iterable[PrefectFuture[Any]], timeout: Optional[float] = None
) -> Iterator[PrefectFuture[Any]]:
    """Gives `futures` as they end. Raises TimeoutError when not all have within `timeout` seconds."""
    by_source = {_as_future(future._source): future for future in futures}
    for source in _as_completed(by_source, timeout):
        yield by_source[source]


_wait, _as_completed = futures.wait, futures.as_completed


def _as_future(source: Source) -> Future[Any]:
    """`source`, or a future that is done once its run has ended, and has no result of its own."""
    if isinstance(source, Future):
        return source
    ended: Future[Any] = Future("run")
    ended.id = source.id
    when_ended(source, lambda: ended._finish(None, None))
    return ended


def when_ended(source: Source, then: Callable[[], None]) -> None:
    """Has `then` called once the run of `source` has ended."""
    from ..._dependencies import when_ended

    when_ended([source], then)


def replaced(value: Any, replace: Callable[[Any], Any], kinds: tuple[type, ...]) -> Any:
    """`value` with what is of `kinds` replaced, also inside lists, tuples, sets and dicts; itself if there is nothing."""
    if isinstance(value, kinds):
        return replace(value)
    if isinstance(value, dict):
        values = [replaced(item, replace, kinds) for item in value.values()]
        if all(map(operator.is_, values, value.values())):
            return value
        return dict(zip(value, values))
    if not isinstance(value, (list, tuple, set, frozenset)):
        return value
    items = [replaced(item, replace, kinds) for item in value]
    if all(map(operator.is_, items, value)):
        return value
    if isinstance(value, list):
        return items
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def resolve_futures_to_states(expr: Any) -> Any:
    """`expr` with the states of the futures in it, once their runs have ended."""

    def state(future: PrefectFuture[Any]) -> State:
        future.wait()
        return future.state

    return replaced(expr, state, (PrefectFuture,))


def resolve_futures_to_results(expr: Any) -> Any:
    """`expr` with the results of the futures in it."""

    def result(future: PrefectFuture[Any]) -> Any:
        state = resolve_futures_to_states(future)
        if not state.is_final():
            raise UnfinishedRun(f"the run {future.task_run_id} has not ended")
        return future.result()

    return replaced(expr, result, (PrefectFuture,))
