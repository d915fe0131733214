"""`submit_to_runner` and `wait_for_submitted_runs`: runs for whoever serves the function, without a deployment."""

from __future__ import annotations

from typing import Any, Optional

from ..._connection import block, client
from ..._runtime import current_run
from . import _filters
from ._calls import dual
from ._client import listed
from ._filters import Filter
from ._functions import Function
from ._objects import FlowRun, TaskRun, read

#: The runs that code outside of any run has submitted and not waited for.
_outside: list[str] = []


def submit_to_runner(
    prefect_callable: Function,
    parameters: dict[str, Any] | list[dict[str, Any]] | None = None,
    retry_failed_submissions: bool = True,
) -> Any:
    """Has a worker execute a flow or task that it serves, once for each of `parameters`; the runs. They are durable when
    this returns. In async code await it."""
    return dual(_submit)(prefect_callable, parameters)


def _submit(function: Function, parameters: dict[str, Any] | list[dict[str, Any]] | None) -> Any:
    many = parameters if isinstance(parameters, list) else [parameters or {}]
    runs: list[FlowRun | TaskRun] = []
    for given in many:
        handle = function.delay(**given)._source
        if current_run() is None:
            _outside.append(handle.id)
        runs.append(read(handle.id))
    return runs if isinstance(parameters, list) else runs[0]


def wait_for_submitted_runs(
    flow_run_filter: Optional[Filter] = None,
    task_run_filter: Optional[Filter] = None,
    timeout: Optional[float] = None,
    poll_interval: float = 3.0,
) -> Any:
    """Waits for the end of the runs that match, and of those that the current run, or code outside of any, has submitted.
    Raises TimeoutError when they have not ended within `timeout` seconds. In async code await it."""
    return dual(_wait)(flow_run_filter, task_run_filter, timeout)


def _wait(flow_runs: Optional[Filter], task_runs: Optional[Filter], timeout: Optional[float]) -> None:
    run = current_run()
    ids = set(_outside) if run is None else {child.id for child in listed(f'parent_run_id = "{run.run_id}"', None, None, 0)}
    if flow_runs is not None:
        ids |= {found.id for found in listed(_filters.of_runs("flow", runs=flow_runs), None, None, 0)}
    if task_runs is not None:
        ids |= {found.id for found in listed(_filters.of_runs("task", runs=task_runs), None, None, 0)}
    if ids:
        block(client().wait_many(sorted(ids)), timeout, f"one of {len(ids)} runs")
    if run is None:
        _outside.clear()
