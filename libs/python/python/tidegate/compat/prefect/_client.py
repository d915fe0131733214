"""The client of the API: the calls that scripts make, on Tidegate's."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, NamedTuple, Optional

from ..._connection import block, client
from . import _filters, _objects
from ._calls import in_thread
from ._errors import ObjectNotFound, translating
from ._filters import Filter
from ._functions import Function
from ._objects import Deployment, Flow, FlowRun, TaskRun
from ._states import State, StateType

_PAGE = 1_000
#: Flow runs whose task runs can be asked for at once: a filter is of 4 KiB at most.
_MAX_PARENTS = 50
_LEVELS = ((21, logging.CRITICAL), (17, logging.ERROR), (13, logging.WARNING), (9, logging.INFO), (5, logging.DEBUG))
_ORDERS = {
    "START_TIME": "started_at",
    "EXPECTED_START_TIME": "due_at",
    "NEXT_SCHEDULED_START_TIME": "due_at",
    "END_TIME": "ended_at",
    "NAME": "run_name",
    "ID": "id",
}


class OrchestrationResult(NamedTuple):
    """What came of a state that was proposed."""

    #: The state the run has now.
    state: State
    #: ``ACCEPT``: the server did as it was asked. ``ABORT``: there was nothing to be done.
    status: str = "ACCEPT"
    #: Why not: a `reason`.
    details: Any = None


class Reason(NamedTuple):
    """Why a state was not taken."""

    #: For people.
    reason: str


class Log(NamedTuple):
    """A line of a run's log."""

    #: Of which logger.
    name: str
    #: As Python numbers it.
    level: int
    #: The line.
    message: str
    #: When it was written.
    timestamp: datetime
    #: The run, if it is one of a flow.
    flow_run_id: Optional[uuid.UUID]
    #: The run, if it is one of a task.
    task_run_id: Optional[uuid.UUID]


class SyncPrefectClient:
    """The client for plain code."""

    def __enter__(self) -> SyncPrefectClient:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_without(name))

    @property
    def api_url(self) -> str:
        """Where the server is."""
        return client().address

    def api_healthcheck(self) -> Optional[Exception]:
        """None when the server answers, and else why not."""
        try:
            block(client().list_runs("", 1, ""))
        except Exception as error:
            return error
        return None

    hello = api_healthcheck

    # --- runs

    def read_flow_run(self, flow_run_id: uuid.UUID | str) -> FlowRun:
        """A flow run as it is now."""
        run = _objects.read(flow_run_id)
        if not isinstance(run, FlowRun):
            raise ObjectNotFound(f"{flow_run_id} is the id of a task run: ask by read_task_run()")
        return run

    def read_task_run(self, task_run_id: uuid.UUID | str) -> TaskRun:
        """A task run as it is now."""
        run = _objects.read(task_run_id)
        if not isinstance(run, TaskRun):
            raise ObjectNotFound(f"{task_run_id} is the id of a flow run: ask by read_flow_run()")
        return run

    def read_flow_runs(
        self,
        *,
        flow_filter: Optional[Filter] = None,
        flow_run_filter: Optional[Filter] = None,
        deployment_filter: Optional[Filter] = None,
        sort: Any = None,
        limit: Optional[int] = None,
        offset: int = 0,
    ) -> list[FlowRun]:
        """The flow runs that match, the newest first unless `sort` says otherwise."""
        wanted = _filters.of_runs("flow", flow_filter, flow_run_filter, deployment_filter)
        return [FlowRun(run) for run in listed(wanted, sort, limit, offset)]

    def read_task_runs(
        self,
        *,
        flow_filter: Optional[Filter] = None,
        flow_run_filter: Optional[Filter] = None,
        task_run_filter: Optional[Filter] = None,
        deployment_filter: Optional[Filter] = None,
        sort: Any = None,
        limit: Optional[int] = None,
        offset: int = 0,
    ) -> list[TaskRun]:
        """The task runs that match, the newest first unless `sort` says otherwise. The other filters are of the flow runs
        that have started them, of which there may be 50 at most."""
        wanted = _filters.of_runs("task", runs=task_run_filter)
        if not (flow_filter is None and flow_run_filter is None and deployment_filter is None):
            of_flows = _filters.of_runs("flow", flow_filter, flow_run_filter, deployment_filter)
            parents = [run.id for run in listed(of_flows, None, _MAX_PARENTS + 1, 0)]
            if len(parents) > _MAX_PARENTS:
                raise ValueError(
                    f"read_task_runs(): the filters of flow runs match more than {_MAX_PARENTS} of them: ask for the task runs "
                    "of fewer at a time"
                )
            wanted += f" AND {_filters.one_of('parent_run_id', parents)}"
        return [TaskRun(run) for run in listed(wanted, sort, limit, offset)]

    def count_flow_runs(self, *, flow_filter: Optional[Filter] = None, flow_run_filter: Optional[Filter] = None) -> int:
        """How many match."""
        return len(self.read_flow_runs(flow_filter=flow_filter, flow_run_filter=flow_run_filter))

    def create_flow_run(
        self,
        flow: Function,
        name: Optional[str] = None,
        parameters: Optional[dict[str, Any]] = None,
        tags: Optional[list[str]] = None,
    ) -> FlowRun:
        """A run of `flow` for the worker that serves it."""
        given = {key: value for key, value in {"flow_run_name": name}.items() if value}
        made = flow.with_options(**given) if given else flow
        if tags:
            made = made.tagged(tags)
        return self.read_flow_run(str(made.delay(**(parameters or {})).flow_run_id))

    def create_flow_run_from_deployment(
        self,
        deployment_id: uuid.UUID | str,
        *,
        parameters: Optional[dict[str, Any]] = None,
        state: Optional[State] = None,
        name: Optional[str] = None,
        tags: Optional[list[str]] = None,
        idempotency_key: Optional[str] = None,
        work_queue_name: Optional[str] = None,
    ) -> FlowRun:
        """A run of a deployment, which is named by its id or as ``flow/deployment``. It is the child of no run."""
        from ._deployments import run_deployment

        run: FlowRun = run_deployment(
            deployment_id,
            parameters=parameters,
            scheduled_time=state.state_details.scheduled_time if state is not None else None,
            flow_run_name=name,
            tags=tags,
            idempotency_key=idempotency_key,
            work_queue_name=work_queue_name,
            as_subflow=False,
            timeout=0,
        )
        return run

    def read_deployment_by_name(self, name: str) -> Deployment:
        """The deployment ``flow/deployment``."""
        with translating():
            return Deployment(block(client().get_deployment(name)))

    def read_deployment(self, deployment_id: uuid.UUID | str) -> Deployment:
        """A deployment that this process has met."""
        return self.read_deployment_by_name(_objects.name_of("deployment", deployment_id))

    def set_flow_run_state(self, flow_run_id: uuid.UUID | str, state: State, force: bool = False) -> OrchestrationResult:
        """Has a run cancelled, retried, paused or resumed: what a person may do to a run."""
        return _set_state(str(flow_run_id), state)

    def set_task_run_state(self, task_run_id: uuid.UUID | str, state: State, force: bool = False) -> OrchestrationResult:
        """As :meth:`set_flow_run_state`."""
        return _set_state(str(task_run_id), state)

    def cancel_flow_run(self, flow_run_id: uuid.UUID | str) -> int:
        """Cancels the run and all below it, at once; how many that were."""
        with translating():
            return _objects.handle(flow_run_id).cancel()

    def resume_flow_run(self, flow_run_id: uuid.UUID | str, run_input: Optional[dict[str, Any]] = None) -> OrchestrationResult:
        """Has a paused run go on."""
        with translating():
            _objects.handle(flow_run_id).resume(run_input)
        return OrchestrationResult(self.read_flow_run(flow_run_id).state)

    def read_logs(
        self, log_filter: Optional[Filter] = None, limit: Optional[int] = None, offset: int = 0, sort: Any = None
    ) -> list[Log]:
        """The lines of the runs that `log_filter` names, oldest first."""
        ids = [
            (kind, str(run_id))
            for kind in ("flow", "task")
            for run_id in getattr(getattr(log_filter, f"{kind}_run_id", None), "any_", None) or ()
        ]
        if not ids:
            raise TypeError("read_logs() needs a LogFilter that names runs: flow_run_id or task_run_id")
        with translating():
            lines = sorted((line for kind, run_id in ids for line in _log(kind, run_id)), key=lambda line: line.timestamp)
        wanted = [line for line in lines if log_filter is None or _is_wanted(line, log_filter)]
        return wanted[offset:][: limit if limit is not None else len(wanted)]

    # --- flows

    def read_flow(self, flow_id: uuid.UUID | str) -> Flow:
        """A flow that this process has met."""
        return Flow(_objects.name_of("flow", flow_id))

    def read_flow_by_name(self, flow_name: str) -> Flow:
        """A flow."""
        if not listed(f'flow = "{flow_name}"', None, 1, 0):
            raise ObjectNotFound(f"no run of a flow `{flow_name}` is known")
        return Flow(flow_name)


class PrefectClient:
    """The client for async code: the methods of :class:`SyncPrefectClient`, to be awaited."""

    def __init__(self) -> None:
        self._plain = SyncPrefectClient()

    async def __aenter__(self) -> PrefectClient:
        return self

    async def __aexit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        pass

    def __enter__(self) -> SyncPrefectClient:
        return self._plain

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def api_url(self) -> str:
        """Where the server is."""
        return self._plain.api_url

    def __getattr__(self, name: str) -> Any:
        method = getattr(SyncPrefectClient, name, None)
        if name.startswith("_") or not callable(method):
            raise AttributeError(_without(name))
        return in_thread(getattr(self._plain, name))


def _without(name: str) -> str:
    known = ", ".join(known for known in dir(SyncPrefectClient) if not known.startswith("_"))
    return f"the client has no `{name}` in Tidegate's stand-in for Prefect; it has {known}; for other things use `tidegate`"


def get_client(httpx_settings: Optional[dict[str, Any]] = None, sync_client: bool = False) -> Any:
    """A client: ``async with get_client() as client``, or ``with get_client(sync_client=True) as client``."""
    return SyncPrefectClient() if sync_client else PrefectClient()


def listed(wanted: str, sort: Any, limit: Optional[int], offset: int) -> list[Any]:
    order = ""
    if sort is not None:
        field, _, direction = str(getattr(sort, "value", sort)).rpartition("_")
        if field not in _ORDERS:
            raise TypeError(f"runs cannot be sorted by {sort} here; by {', '.join(_ORDERS)}, with _ASC or _DESC")
        order = _ORDERS[field] + (" desc" if direction == "DESC" else "")
    end = None if limit is None else offset + limit
    found: list[Any] = []
    token = ""
    with translating():
        while end is None or len(found) < end:
            size = _PAGE if end is None else min(_PAGE, end - len(found))
            page, token = block(client().list_runs(wanted, size, token, order))
            found += page
            if not token:
                break
    return found[offset:end]


def _set_state(run_id: str, state: State) -> OrchestrationResult:
    handle = _objects.handle(run_id)
    with translating():
        now = handle.state
        if state.type in (StateType.CANCELLED, StateType.CANCELLING) and now.is_ended():
            reason = Reason(f"the run has ended as {now.type} and is not cancelled any more")
            return OrchestrationResult(_objects.read(run_id).state, "ABORT", reason)
        if state.type in (StateType.CANCELLED, StateType.CANCELLING):
            handle.cancel(state.message or "")
        elif state.type is StateType.SCHEDULED and now.is_ended():
            handle.retry(state.message or "")
        elif state.type is StateType.PAUSED:
            handle.pause(reason=state.message or "")
        elif state.type in (StateType.RUNNING, StateType.SCHEDULED) and now.type == "PAUSED":
            handle.resume()
        else:
            raise TypeError(
                f"a run that is {now.type} cannot be set {state.type.value}: how a run ends is said by who executes it; from "
                "outside it can be cancelled (Cancelling), retried (Scheduled), paused (Paused) and resumed (Running)"
            )
    return OrchestrationResult(_objects.read(run_id).state)


def _log(kind: str, run_id: str) -> list[Log]:
    own_id = uuid.UUID(run_id)
    flow_run_id, task_run_id = (own_id, None) if kind == "flow" else (None, own_id)
    return [
        Log(
            logger,
            next((theirs for ours, theirs in _LEVELS if level >= ours), logging.NOTSET),
            message,
            datetime.fromtimestamp(seconds, timezone.utc),
            flow_run_id,
            task_run_id,
        )
        for level, logger, message, seconds, _ in block(client().query_logs(run_id))
    ]


def _is_wanted(line: Log, log_filter: Filter) -> bool:
    level, time = getattr(log_filter, "level", None), getattr(log_filter, "timestamp", None)
    lowest = getattr(level, "ge_", None)
    highest = getattr(level, "le_", None)
    before, after = getattr(time, "before_", None), getattr(time, "after_", None)
    return (
        (lowest is None or line.level >= lowest)
        and (highest is None or line.level <= highest)
        and (before is None or line.timestamp < before)
        and (after is None or line.timestamp > after)
    )
