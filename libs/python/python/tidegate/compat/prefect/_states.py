"""States, as values that code makes, asks and returns."""

from __future__ import annotations

import enum
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Iterable, Optional

from ...errors import PayloadError, RunError
from ...handles import RunHandle
from ._calls import dual, in_thread
from ._errors import CancelledRun, CrashedRun, FailedRun, MissingResult, PausedRun, UnfinishedRun, UpstreamTaskError, translated


class StateType(str, enum.Enum):
    """What a state is to the server."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"


TERMINAL_STATES = {StateType.COMPLETED, StateType.CANCELLED, StateType.FAILED, StateType.CRASHED}
_WITHOUT_RESULT = {"FAILED": FailedRun, "CRASHED": CrashedRun, "CANCELLED": CancelledRun, "PAUSED": PausedRun}


class StateDetails:
    """What else is known of a state."""

    def __init__(self, **details: Any) -> None:
        self.flow_run_id: Optional[uuid.UUID] = details.pop("flow_run_id", None)
        self.task_run_id: Optional[uuid.UUID] = details.pop("task_run_id", None)
        self.scheduled_time: Optional[datetime] = details.pop("scheduled_time", None)
        self.pause_timeout: Optional[datetime] = details.pop("pause_timeout", None)
        self.pause_key: Optional[str] = details.pop("pause_key", None)
        self.pause_reschedule: bool = details.pop("pause_reschedule", False)
        if details:
            raise TypeError(f"StateDetails has no `{sorted(details)[0]}` here")


class State:
    """Where a run stands, and its result if it has one."""

    def __init__(
        self,
        type: StateType | str,  # noqa: A002 - as users write it
        name: Optional[str] = None,
        message: Optional[str] = None,
        data: Any = None,
        timestamp: Optional[datetime] = None,
        state_details: Optional[StateDetails] = None,
        id: Optional[uuid.UUID] = None,  # noqa: A002 - as users write it
    ) -> None:
        self.type = StateType(type)
        self.name = name or self.type.value.capitalize()
        self.message = message
        #: A completed run's value, or the exception of one that failed.
        self.data = data
        self.timestamp = timestamp or datetime.now(timezone.utc)
        self.state_details = state_details or StateDetails()
        self.id = id or uuid.uuid4()
        self._run: Optional[RunHandle[Any]] = None

    def _outcome(self) -> Any:
        """The value; or the exception, raised."""
        if self._run is not None and self.is_final():
            try:
                return self._run.result()
            except RunError as error:
                raise translated(error) from None
            except PayloadError as error:
                raise MissingResult(str(error)) from error
        if self.is_completed():
            return self.data._outcome() if isinstance(self.data, State) else self.data
        if isinstance(self.data, BaseException):
            raise self.data
        if isinstance(self.data, State):
            self.data._outcome()
        kind = _WITHOUT_RESULT.get(self.type.value)
        if kind is None:
            raise UnfinishedRun(f"the run is {self.type.value}: it has no result yet")
        raise kind(self.message or self._failed_of() or f"the run is {self.name}")

    def _failed_of(self) -> str:
        if not is_states(self.data):
            return str(self.data or "")
        failed = sum(not state.is_completed() for state in self.data)
        return f"{failed}/{len(self.data)} states failed."

    def _result(self, raise_on_failure: bool = True, **_: Any) -> Any:
        try:
            return self._outcome()
        except (UnfinishedRun, PausedRun, MissingResult):
            raise
        except Exception as error:
            if raise_on_failure:
                raise
            return error

    def result(self, raise_on_failure: bool = True, fetch: bool = True, retry_result_failure: bool = True) -> Any:
        """What the run returned. What it raised is raised, or given with `raise_on_failure=False`. In async code await
        it."""
        return dual(self._result)(raise_on_failure)

    async def aresult(self, raise_on_failure: bool = True, retry_result_failure: bool = True) -> Any:
        """As :meth:`result`."""
        return await in_thread(self._result)(raise_on_failure)

    def is_scheduled(self) -> bool:
        """True when it is to start."""
        return self.type == StateType.SCHEDULED

    def is_pending(self) -> bool:
        """True when it is about to start."""
        return self.type == StateType.PENDING

    def is_running(self) -> bool:
        """True when its code runs."""
        return self.type == StateType.RUNNING

    def is_completed(self) -> bool:
        """True when its code returned."""
        return self.type == StateType.COMPLETED

    def is_failed(self) -> bool:
        """True when its code raised."""
        return self.type == StateType.FAILED

    def is_crashed(self) -> bool:
        """True when its process went away."""
        return self.type == StateType.CRASHED

    def is_cancelled(self) -> bool:
        """True when it was cancelled."""
        return self.type == StateType.CANCELLED

    def is_cancelling(self) -> bool:
        """True when it is being cancelled."""
        return self.type == StateType.CANCELLING

    def is_paused(self) -> bool:
        """True when it waits to be resumed."""
        return self.type == StateType.PAUSED

    def is_final(self) -> bool:
        """True when it has ended."""
        return self.type in TERMINAL_STATES

    def __repr__(self) -> str:
        message = f"message={self.message!r}, " if self.message else ""
        return f"{self.name}({message}type={self.type.value})"

    __str__ = __repr__

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_run": None, "_run_id": self._run.id if self._run is not None else None}

    def __setstate__(self, values: dict[str, Any]) -> None:
        run_id = values.pop("_run_id")
        self.__dict__.update(values)
        self._run = RunHandle(run_id) if run_id is not None else None


def of_run(run_id: str, kind: str, state: tuple[str, str, str]) -> State:
    """The state that the server tells of a run."""
    state_type, name, message = state
    details = StateDetails(**{f"{kind}_run_id": uuid.UUID(run_id)})
    made = State(state_type, name, message or None, state_details=details)
    made._run = RunHandle(run_id)
    return made


def of_error(error: BaseException) -> State:
    """The state of a run that ended with `error`."""
    state_type, name = "FAILED", None
    if isinstance(error, CancelledRun):
        state_type = "CANCELLED"
    elif isinstance(error, CrashedRun):
        state_type = "CRASHED"
    elif isinstance(error, TimeoutError) and isinstance(error, FailedRun):
        name = "TimedOut"
    elif isinstance(error, UpstreamTaskError):
        name = "UpstreamFailed"
    return State(state_type, name, str(error) or repr(error), error)


def is_states(value: Any) -> bool:
    """True of a list, tuple or set of states alone, and not an empty one."""
    return isinstance(value, (list, tuple, set)) and bool(value) and all(isinstance(item, State) for item in value)


class StateGroup:
    """Counts of many states."""

    def __init__(self, states: Iterable[State]) -> None:
        self.states = list(states)
        self.total_count = len(self.states)

    def _all(self, kind: StateType) -> bool:
        return all(state.type == kind for state in self.states)

    def _any(self, kind: StateType) -> bool:
        return any(state.type == kind for state in self.states)

    def all_completed(self) -> bool:
        """True when all are completed."""
        return self._all(StateType.COMPLETED)

    def any_failed(self) -> bool:
        """True when one has failed."""
        return self._any(StateType.FAILED)

    def any_cancelled(self) -> bool:
        """True when one was cancelled."""
        return self._any(StateType.CANCELLED)

    def any_paused(self) -> bool:
        """True when one is paused."""
        return self._any(StateType.PAUSED)

    def all_final(self) -> bool:
        """True when all have ended."""
        return all(state.is_final() for state in self.states)

    @property
    def fail_count(self) -> int:
        """How many have failed."""
        return sum(state.is_failed() for state in self.states)


def _maker(state_type: str, default_name: Optional[str] = None) -> Callable[..., State]:
    def make(cls: type[State] = State, **values: Any) -> State:
        return cls(type=state_type, name=values.pop("name", default_name), **values)

    return make


def Scheduled(cls: type[State] = State, scheduled_time: Optional[datetime] = None, **values: Any) -> State:
    """To start at `scheduled_time`, or now."""
    details = values.pop("state_details", None) or StateDetails()
    details.scheduled_time = scheduled_time or datetime.now(timezone.utc)
    return cls(type="SCHEDULED", state_details=details, **values)


def AwaitingRetry(cls: type[State] = State, scheduled_time: Optional[datetime] = None, **values: Any) -> State:
    """To start again."""
    return Scheduled(cls, scheduled_time, name="AwaitingRetry", **values)


def AwaitingConcurrencySlot(cls: type[State] = State, scheduled_time: Optional[datetime] = None, **values: Any) -> State:
    """To start when there is a slot."""
    return Scheduled(cls, scheduled_time, name="AwaitingConcurrencySlot", **values)


def Late(cls: type[State] = State, scheduled_time: Optional[datetime] = None, **values: Any) -> State:
    """Should have started by now."""
    return Scheduled(cls, scheduled_time, name="Late", **values)


def Paused(
    cls: type[State] = State,
    timeout_seconds: Optional[float] = None,
    pause_expiration_time: Optional[datetime] = None,
    reschedule: bool = False,
    pause_key: Optional[str] = None,
    **values: Any,
) -> State:
    """Waits to be resumed."""
    if timeout_seconds is not None:
        pause_expiration_time = datetime.now(timezone.utc) + timedelta(seconds=timeout_seconds)
    details = StateDetails(pause_timeout=pause_expiration_time, pause_reschedule=reschedule, pause_key=pause_key)
    return cls(type="PAUSED", state_details=details, **values)


def Suspended(cls: type[State] = State, **values: Any) -> State:
    """Waits to be resumed, without a process."""
    return Paused(cls, name="Suspended", reschedule=True, **values)


Completed = _maker("COMPLETED")
Running = _maker("RUNNING")
Failed = _maker("FAILED")
Crashed = _maker("CRASHED")
Cancelling = _maker("CANCELLING")
Cancelled = _maker("CANCELLED")
Pending = _maker("PENDING")
Retrying = _maker("RUNNING", "Retrying")


@dual
def get_state_result(state: State, raise_on_failure: bool = True, retry_result_failure: bool = True) -> Any:
    """What the run returned whose state this is. In async code await it."""
    return state._result(raise_on_failure)


def _exception(state: State) -> BaseException:
    if not (state.is_failed() or state.is_crashed() or state.is_cancelled()):
        raise TypeError(f"a state that is {state.type.value} has no exception")
    try:
        state._outcome()
    except Exception as error:
        return error
    raise MissingResult(f"the run is {state.type.value} and still has a result")  # it was retried meanwhile


@dual
def get_state_exception(state: State) -> BaseException:
    """What the run raised whose state this is. In async code await it."""
    return _exception(state)


@dual
def raise_state_exception(state: State) -> None:
    """Raises what the run raised, if it did. In async code await it."""
    if state.is_failed() or state.is_crashed() or state.is_cancelled():
        raise _exception(state)


def return_value_to_state(value: Any) -> State:
    """How a flow ends that returns `value`."""
    if isinstance(value, State):
        return value
    if is_states(value) and not all(state.is_completed() for state in value):
        failed = sum(not state.is_completed() for state in value)
        return State("FAILED", message=f"{failed}/{len(value)} states failed.", data=value)
    return State("COMPLETED", data=value)


def is_of(state: State, kind: str, run_id: str) -> None:
    """Notes of which run `state` is."""
    setattr(state.state_details, f"{kind}_run_id", uuid.UUID(run_id))
