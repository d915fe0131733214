"""Runs and flows as the client gives them."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from ... import _core, _payload
from ..._connection import block, client
from ...handles import RunHandle
from . import _states
from ._errors import ObjectNotFound, translating
from ._states import State, StateType

_NAMES = uuid.uuid5(uuid.NAMESPACE_URL, "https://tidegate.dev/prefect")
#: What the ids stand for that this process has made of names.
_named: dict[uuid.UUID, str] = {}


def id_of(kind: str, name: str) -> uuid.UUID:
    """An id for something that Tidegate knows by its name: the same in every process."""
    made = uuid.uuid5(_NAMES, f"{kind}:{name}")
    _named[made] = name
    return made


def name_of(kind: str, id_or_name: uuid.UUID | str) -> str:
    """The name behind an id of :func:`id_of`, or the name itself."""
    try:
        identity = id_or_name if isinstance(id_or_name, uuid.UUID) else uuid.UUID(str(id_or_name))
    except ValueError:
        return str(id_or_name)
    if identity not in _named:
        raise ObjectNotFound(
            f"this process has met no {kind} of the id {identity}: Tidegate knows a {kind} by its name; give that instead"
        )
    return _named[identity]


def handle(run_id: uuid.UUID | str) -> RunHandle[Any]:
    """A run by its id."""
    try:
        identity: Optional[uuid.UUID] = uuid.UUID(str(run_id))
    except ValueError:
        identity = None
    if identity is None or identity.version != 7:
        known = _named.get(identity) if identity is not None else None
        what = f"it stands for `{known}`" if known else "those of runs look like 0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b"
        raise ObjectNotFound(f"there is no run {run_id}: {what}")
    return RunHandle(str(identity))


class _Run:
    """A run as it was when it was read."""

    kind = "flow"

    def __init__(self, run: _core.Run) -> None:
        self._run = run
        self.id = uuid.UUID(run.id)
        self.name = run.run_name
        self.tags = list(run.tags)
        self.labels = dict(run.labels)
        self.run_count = run.attempt
        self.work_queue_name = run.queue
        self.state: State = _states.of_run(run.id, self.kind, run.state)
        self.state.timestamp = self.end_time or self.start_time or self.created or self.state.timestamp

    @property
    def state_type(self) -> StateType:
        """That of its state."""
        return self.state.type

    @property
    def state_name(self) -> str:
        """That of its state."""
        return self.state.name

    @property
    def created(self) -> Optional[datetime]:
        """When it was created."""
        return _time(self._run.created_at)

    @property
    def expected_start_time(self) -> Optional[datetime]:
        """When it was to start: for a schedule's run the time of that, without jitter."""
        return _time(self._run.fire_at) or self.next_scheduled_start_time

    @property
    def next_scheduled_start_time(self) -> Optional[datetime]:
        """When it is, or was, due."""
        return _time(self._run.due_at) or self.created

    @property
    def start_time(self) -> Optional[datetime]:
        """When its last attempt started."""
        return _time(self._run.started_at)

    @property
    def end_time(self) -> Optional[datetime]:
        """When it ended."""
        return _time(self._run.ended_at)

    @property
    def total_run_time(self) -> timedelta:
        """How long its last attempt has taken."""
        if self.start_time is None:
            return timedelta(0)
        return (self.end_time or datetime.now(timezone.utc)) - self.start_time

    estimated_run_time = total_run_time

    @property
    def parent_run_id(self) -> Optional[uuid.UUID]:
        """The run that started it."""
        return uuid.UUID(self._run.parent_run_id) if self._run.parent_run_id else None

    @property
    def root_flow_run_id(self) -> uuid.UUID:
        """The uppermost run above it."""
        return uuid.UUID(self._run.root_run_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Run) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={str(self.id)!r}, name={self.name!r}, state={self.state!r})"


class FlowRun(_Run):
    """A run of a flow."""

    @property
    def flow_name(self) -> str:
        """The flow."""
        return self._run.name

    @property
    def flow_id(self) -> uuid.UUID:
        """Stands for the flow's name."""
        return id_of("flow", self._run.name)

    @property
    def deployment_id(self) -> Optional[uuid.UUID]:
        """Stands for the name of the deployment it was started through."""
        return id_of("deployment", self._run.deployment) if self._run.deployment else None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the flow was called with."""
        if self._run.parameters is None:  # lists come without them
            self._run = block(client().get_run(self._run.id))
        parameters = _payload.decode(self._run.parameters, f"the parameters of run {self._run.id}")
        return parameters if isinstance(parameters, dict) else {}

    @property
    def parent_task_run_id(self) -> Optional[uuid.UUID]:
        """The run that started it, whether task or flow."""
        return self.parent_run_id


class TaskRun(_Run):
    """A run of a task."""

    kind = "task"

    @property
    def task_key(self) -> str:
        """The task."""
        return self._run.name

    @property
    def flow_run_id(self) -> Optional[uuid.UUID]:
        """The run that started it."""
        return self.parent_run_id

    @property
    def cache_key(self) -> Optional[str]:
        """The key of its result in the cache."""
        return self._run.cache_key or None


class Flow:
    """A flow, by its name."""

    def __init__(self, name: str) -> None:
        self.id = id_of("flow", name)
        self.name = name
        self.tags: list[str] = []
        self.labels: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Flow(id={str(self.id)!r}, name={self.name!r})"


class Deployment:
    """A deployment as it was when it was read."""

    def __init__(self, told: Any) -> None:
        full_name, _, description, entrypoint, parameters, tags, queue, version = told
        #: Stands for its full name.
        self.id = id_of("deployment", full_name)
        self.flow_name, _, self.name = full_name.partition("/")
        self.flow_id = id_of("flow", self.flow_name)
        self.description: Optional[str] = description or None
        self.entrypoint: Optional[str] = entrypoint or None
        self.parameters: dict[str, Any] = json.loads(parameters) if parameters else {}
        self.tags = list(tags)
        self.work_queue_name: str = queue
        self.version: Optional[str] = version or None

    def __repr__(self) -> str:
        return f"Deployment(id={str(self.id)!r}, name={self.name!r}, flow_name={self.flow_name!r})"


def as_object(run: _core.Run) -> FlowRun | TaskRun:
    """`run` by its kind."""
    return FlowRun(run) if run.kind == "flow" else TaskRun(run)


def read(run_id: uuid.UUID | str) -> FlowRun | TaskRun:
    """A run as it is now."""
    with translating():
        return as_object(handle(run_id).run())


def _time(seconds: Optional[float]) -> Optional[datetime]:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
