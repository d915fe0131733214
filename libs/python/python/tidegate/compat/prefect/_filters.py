"""Filters, as Tidegate's filter language.

Each class has those conditions of Prefect's class of its name that Tidegate can ask for. Another one is an error, never
a filter that lets everything through.
"""

from __future__ import annotations

import enum
from datetime import datetime, timezone
from typing import Any, Iterable, Optional

from ._objects import name_of


class Operator(str, enum.Enum):
    """How the conditions of a filter are joined."""

    and_ = "and_"
    or_ = "or_"


class Filter:
    """Conditions on one thing, by their names: ``any_``, ``all_``, ``like_``, …, or on several."""

    #: The class of each condition that has conditions of its own; None for the others.
    conditions: dict[str, Optional[type[Filter]]] = {}

    def __init__(self, operator: Operator | str = Operator.and_, **given: Any) -> None:
        self.operator = Operator(operator)
        unknown = sorted(given.keys() - self.conditions.keys())
        if unknown:
            known = ", ".join(self.conditions)
            raise TypeError(f"{type(self).__name__} has no `{unknown[0]}` here; there are {known}")
        for name, kind in self.conditions.items():
            value = given.get(name)
            if kind is not None and isinstance(value, dict):
                value = kind(**value)
            setattr(self, name, value)

    def given(self) -> Iterable[tuple[str, Any]]:
        """The conditions that were given, by name."""
        for name in self.conditions:
            value = getattr(self, name)
            if value is not None:
                yield name, value

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.given())
        return f"{type(self).__name__}({told})"


def _of(name: str, /, *plain: str, **nested: type[Filter]) -> type[Filter]:
    conditions: dict[str, Optional[type[Filter]]] = {**dict.fromkeys(plain), **nested}
    return type(name, (Filter,), {"conditions": conditions, "__module__": __name__, "__doc__": f"`{name}`."})


FlowFilterId = _of("FlowFilterId", "any_")
FlowFilterName = _of("FlowFilterName", "any_", "like_")
FlowFilter = _of("FlowFilter", id=FlowFilterId, name=FlowFilterName)

FlowRunFilterId = _of("FlowRunFilterId", "any_", "not_any_")
FlowRunFilterName = _of("FlowRunFilterName", "any_", "like_")
FlowRunFilterTags = _of("FlowRunFilterTags", "all_", "any_", "is_null_")
FlowRunFilterDeploymentId = _of("FlowRunFilterDeploymentId", "any_", "is_null_")
FlowRunFilterWorkQueueName = _of("FlowRunFilterWorkQueueName", "any_", "is_null_")
FlowRunFilterStateType = _of("FlowRunFilterStateType", "any_", "not_any_")
FlowRunFilterStateName = _of("FlowRunFilterStateName", "any_", "not_any_")
FlowRunFilterState = _of("FlowRunFilterState", type=FlowRunFilterStateType, name=FlowRunFilterStateName)
FlowRunFilterStartTime = _of("FlowRunFilterStartTime", "before_", "after_", "is_null_")
FlowRunFilterEndTime = _of("FlowRunFilterEndTime", "before_", "after_", "is_null_")
FlowRunFilterExpectedStartTime = _of("FlowRunFilterExpectedStartTime", "before_", "after_")
FlowRunFilterNextScheduledStartTime = _of("FlowRunFilterNextScheduledStartTime", "before_", "after_")
FlowRunFilterParentFlowRunId = _of("FlowRunFilterParentFlowRunId", "any_")
FlowRunFilterParentTaskRunId = _of("FlowRunFilterParentTaskRunId", "any_", "is_null_")
FlowRunFilter = _of(
    "FlowRunFilter",
    id=FlowRunFilterId,
    name=FlowRunFilterName,
    tags=FlowRunFilterTags,
    deployment_id=FlowRunFilterDeploymentId,
    work_queue_name=FlowRunFilterWorkQueueName,
    state=FlowRunFilterState,
    start_time=FlowRunFilterStartTime,
    end_time=FlowRunFilterEndTime,
    expected_start_time=FlowRunFilterExpectedStartTime,
    next_scheduled_start_time=FlowRunFilterNextScheduledStartTime,
    parent_flow_run_id=FlowRunFilterParentFlowRunId,
    parent_task_run_id=FlowRunFilterParentTaskRunId,
)

TaskRunFilterFlowRunId = _of("TaskRunFilterFlowRunId", "any_", "is_null_")
TaskRunFilterId = _of("TaskRunFilterId", "any_")
TaskRunFilterName = _of("TaskRunFilterName", "any_", "like_")
TaskRunFilterTags = _of("TaskRunFilterTags", "all_", "is_null_")
TaskRunFilterStateType = _of("TaskRunFilterStateType", "any_")
TaskRunFilterStateName = _of("TaskRunFilterStateName", "any_")
TaskRunFilterState = _of("TaskRunFilterState", type=TaskRunFilterStateType, name=TaskRunFilterStateName)
TaskRunFilterStartTime = _of("TaskRunFilterStartTime", "before_", "after_", "is_null_")
TaskRunFilterEndTime = _of("TaskRunFilterEndTime", "before_", "after_", "is_null_")
TaskRunFilter = _of(
    "TaskRunFilter",
    id=TaskRunFilterId,
    name=TaskRunFilterName,
    tags=TaskRunFilterTags,
    state=TaskRunFilterState,
    start_time=TaskRunFilterStartTime,
    end_time=TaskRunFilterEndTime,
    flow_run_id=TaskRunFilterFlowRunId,
)

DeploymentFilterId = _of("DeploymentFilterId", "any_")
DeploymentFilterName = _of("DeploymentFilterName", "any_", "like_")
DeploymentFilter = _of("DeploymentFilter", id=DeploymentFilterId, name=DeploymentFilterName)

LogFilterLevel = _of("LogFilterLevel", "ge_", "le_")
LogFilterTimestamp = _of("LogFilterTimestamp", "before_", "after_")
LogFilterFlowRunId = _of("LogFilterFlowRunId", "any_")
LogFilterTaskRunId = _of("LogFilterTaskRunId", "any_")
LogFilter = _of(
    "LogFilter",
    level=LogFilterLevel,
    timestamp=LogFilterTimestamp,
    flow_run_id=LogFilterFlowRunId,
    task_run_id=LogFilterTaskRunId,
)

#: The field of a run that each condition asks for.
_RUN = {
    "id": "id",
    "name": "run_name",
    "tags": "tags",
    "work_queue_name": "queue",
    "type": "state",
    "start_time": "started_at",
    "end_time": "ended_at",
    "expected_start_time": "due_at",
    "next_scheduled_start_time": "due_at",
    "parent_flow_run_id": "parent_run_id",
    "parent_task_run_id": "parent_run_id",
    "flow_run_id": "parent_run_id",
}
#: None matches: a list of nothing.
_NEVER = "(kind = FLOW AND kind = TASK)"


def of_runs(
    kind: str,
    flow: Optional[Filter] = None,
    runs: Optional[Filter] = None,
    deployment: Optional[Filter] = None,
) -> str:
    """The runs of `kind` that match all of these."""
    conditions = [f"kind = {kind.upper()}"]
    if flow is not None:
        names = {"id": "flow", "name": "flow"}
        conditions.append(_joined(flow, lambda name, value: _flow(names[name], name, value)))
    if deployment is not None:
        conditions.append(_joined(deployment, _deployment))
    if runs is not None:
        conditions.append(_joined(runs, _run))
    return " AND ".join(filter(None, conditions))


def _run(name: str, value: Any) -> str:
    if name == "state":
        return _joined(value, lambda name, value: _compared("state_name" if name == "name" else "state", value))
    if name == "deployment_id":
        return _deployment("id", value)
    return _compared(_RUN[name], value)


def _flow(field: str, name: str, value: Any) -> str:
    if name == "id" and value.any_ is not None:
        return one_of(field, [name_of("flow", item) for item in value.any_])
    return _compared(field, value)


def _deployment(name: str, value: Any) -> str:
    if name == "id":
        if value.any_ is not None:
            return one_of("deployment", [name_of("deployment", item) for item in value.any_])
        return _compared("deployment", value)
    # That of a flow is told after a slash.
    if value.any_ is not None:
        return _either([f'deployment = "*/{_escaped(item)}"' for item in value.any_])
    return _compared("deployment", value)


def _compared(field: str, value: Any) -> str:
    return _joined(value, lambda name, wanted: _condition(field, name, wanted))


def _condition(field: str, name: str, wanted: Any) -> str:
    if name == "any_":
        if field == "tags":
            return _either([f"tags:{_quoted(tag)}" for tag in wanted])
        return one_of(field, wanted)
    if name == "not_any_":
        return " AND ".join(f"{field} != {_quoted(item)}" for item in wanted)
    if name == "all_":
        return " AND ".join(f"tags:{_quoted(tag)}" for tag in wanted)
    if name == "like_":
        return f'{field} = "*{_escaped(wanted)}*"'
    if name == "before_":
        return f"{field} < {_quoted(wanted)}"
    if name == "after_":
        return f"{field} > {_quoted(wanted)}"
    assert name == "is_null_"
    return f"NOT {field}:*" if wanted else f"{field}:*"


def one_of(field: str, wanted: Iterable[Any]) -> str:
    """The runs of which `field` is one of `wanted`; none where there is none."""
    return _either([f"{field} = {_quoted(item)}" for item in wanted])


def _either(conditions: list[str]) -> str:
    return f"({' OR '.join(conditions)})" if conditions else _NEVER


def _joined(value: Filter, condition: Any) -> str:
    conditions = [made for name, wanted in value.given() if (made := condition(name, wanted))]
    if len(conditions) < 2:
        return "".join(conditions)
    joined = f"({') OR ('.join(conditions)})" if value.operator is Operator.or_ else " AND ".join(conditions)
    return f"({joined})"


def _quoted(value: Any) -> str:
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, datetime):
        value = value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f'"{_escaped(value)}"'


def _escaped(value: Any) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
