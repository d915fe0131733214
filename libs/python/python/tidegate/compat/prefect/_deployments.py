"""Deployments: flows that any process can start by name."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Optional

from ... import _deploying, deployments, schedules
from ...errors import WaitTimeout
from ...handles import RunHandle
from . import _objects, _schedules
from ._calls import is_async, plainly
from ._errors import translating
from ._objects import FlowRun

if TYPE_CHECKING:
    from ._serving import RunnerDeployment

#: What of a deployment's options Tidegate's has, by another name or the same.
_OPTIONS = {
    "parameters": "parameters",
    "description": "description",
    "tags": "tags",
    "version": "version",
    "enforce_parameter_schema": "enforce_parameter_schema",
    "concurrency_limit": "concurrency_limit",
    "global_limit": "concurrency_limit",
    "work_queue_name": "queue",
}


def deploy(deployment: RunnerDeployment, pooled: dict[str, Any]) -> None:
    """Makes it known to the server; `pooled` is what the workers of a pool are told."""
    options: dict[str, Any] = dict(pooled)
    given = dict(deployment.options)
    paused = given.pop("paused", None)
    said = given.pop("schedules", None)
    if said is not None:
        if paused is not None:
            said = [replace(schedule, active=schedule.active and not paused) for schedule in said]
        # As Prefect has it: the list is all that the deployment has.
        options.update(schedules=said, prune_schedules=True)
    for name, value in given.items():
        if name not in _OPTIONS:
            raise NotImplementedError(
                f"`{name}=` of the deployment {deployment.name!r}: Tidegate has no such option; it has "
                f"{', '.join((*_OPTIONS, *_schedules.OPTIONS, 'paused'))}"
            )
        options[_OPTIONS[name]] = getattr(value, "limit", value)
    with translating():
        plainly(_deploying.deploy, deployment.flow, deployment.name, **options)
        for schedule in plainly(schedules.find_schedules, deployment.full_name) if paused is not None else ():
            # Prefect's `paused` is of the deployment: all of its schedules are, or none is.
            if paused and schedule.pause is None:
                plainly(schedules.pause_schedule, deployment.full_name, schedule.name, reason="paused=True")
            elif not paused and schedule.pause is not None and _is_active(said, schedule.name):
                plainly(schedules.resume_schedule, deployment.full_name, schedule.name)


def _is_active(said: Optional[list[schedules.Schedule]], name: str) -> bool:
    return said is None or any(schedule.active for schedule in said if schedule.name == name)


def run_deployment(
    name: str | uuid.UUID,
    client: Any = None,
    parameters: Optional[Mapping[str, Any]] = None,
    scheduled_time: Optional[datetime] = None,
    flow_run_name: Optional[str] = None,
    timeout: Optional[float] = None,
    poll_interval: Optional[float] = None,
    tags: Optional[Iterable[str]] = None,
    idempotency_key: Optional[str] = None,
    work_queue_name: Optional[str] = None,
    as_subflow: bool = True,
    job_variables: Optional[Mapping[str, Any]] = None,
) -> Any:
    """Starts a run of a deployment and waits for its end; the flow run, also where `timeout` seconds passed before its end.
    In async code await it.

    A run that calls it again when it is executed anew finds the same child: there is no second one.
    """
    options: dict[str, Any] = {
        "timeout": timeout,
        "as_subflow": as_subflow,
        "idempotency_key": idempotency_key or "",
        "tags": list(tags or ()),
        "scheduled_time": scheduled_time,
        "run_name": flow_run_name or "",
        "queue": work_queue_name,
        "job_variables": job_variables,
    }
    full_name = _objects.name_of("deployment", name)
    given = _plain(dict(parameters or {}))
    if is_async():
        # Begun here, so that the n-th call of a run is the n-th, whenever it is awaited.
        return _ended_async(deployments.run_deployment(full_name, given, **options))
    with translating():
        try:
            handle = plainly(deployments.run_deployment, full_name, given, **options)
        except WaitTimeout as error:
            handle = _of_timeout(error)
        return FlowRun(handle.run())


async def _ended_async(started: Any) -> FlowRun:
    from ..._connection import awaited, client

    with translating():
        try:
            handle = await started
        except WaitTimeout as error:
            handle = _of_timeout(error)
        return FlowRun(await awaited(client().get_run(handle.id)))


def _of_timeout(error: WaitTimeout) -> RunHandle[Any]:
    handle: RunHandle[Any] = error.handle
    return handle


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    from ._annotations import plain

    made: dict[str, Any] = plain(value)
    return made
