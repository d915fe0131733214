"""What code can ask of the run it is part of."""

from __future__ import annotations

from typing import Any, Optional

from ..._connection import block, client
from ..._runtime import RunContext
from ...handles import RunHandle
from . import _objects
from ._calls import Execution, current
from ._errors import MissingContextError
from ._states import StateType


class RunContextOf:
    """The run that executes, its function, and what that was called with."""

    kind = "flow"

    def __init__(self, execution: Execution) -> None:
        assert execution.run is not None
        self._run: RunContext = execution.run
        self._read: Any = None
        #: What the function was called with, by the names of its parameters.
        self.parameters = execution.arguments
        self._function: Any = execution.function

    @classmethod
    def get(cls) -> Any:
        """That of the running code, or None."""
        execution = current(cls.kind)
        return cls(execution) if execution is not None and execution.run is not None else None

    def _object(self) -> Any:
        if self._read is None:
            self._read = _objects.read(self._run.run_id)
            if self._read.state.is_pending():  # it runs, and the server is about to hear of it
                self._read.state.type, self._read.state.name = StateType.RUNNING, "Running"
                self._read.run_count = self._run.attempt
        return self._read


class FlowRunContext(RunContextOf):
    """That of a flow."""

    @property
    def flow(self) -> Any:
        """The flow."""
        return self._function

    @property
    def flow_run(self) -> Any:
        """Its run, as it was when it was asked for first."""
        return self._object()


class TaskRunContext(RunContextOf):
    """That of a task."""

    kind = "task"

    @property
    def task(self) -> Any:
        """The task."""
        return self._function

    @property
    def task_run(self) -> Any:
        """Its run, as it was when it was asked for first."""
        return self._object()


EngineContext = FlowRunContext


def get_run_context() -> FlowRunContext | TaskRunContext:
    """That of the innermost flow or task that runs."""
    execution = current()
    if execution is None or execution.run is None:
        raise MissingContextError("get_run_context() was called outside of any flow or task")
    return FlowRunContext(execution) if execution.function.kind == "flow" else TaskRunContext(execution)


def of_flow_run(name: str) -> Any:
    """A value of `prefect.runtime.flow_run`; None outside of any flow."""
    execution = current("flow")
    if execution is None or execution.run is None:
        return _outside(name, execution)
    run = execution.run
    if name == "flow_name":
        return run.name
    if name == "flow_version":
        return execution.function.version
    if name == "parent_flow_run_id":
        return _flow_above(run.parent_run_id)
    if name == "parent_deployment_id":
        above = _flow_above(run.parent_run_id)
        return _id(getattr(_objects.read(above), "deployment_id", None)) if above else None
    if name == "root_flow_run_id":
        return run.root_run_id
    if name == "scheduled_start_time":
        return _objects.read(run.run_id).expected_start_time
    return _of_run(name, execution, run)


def of_task_run(name: str) -> Any:
    """A value of `prefect.runtime.task_run`; None outside of any task."""
    execution = current("task")
    if execution is None or execution.run is None:
        return _outside(name, execution)
    return execution.run.name if name == "task_name" else _of_run(name, execution, execution.run)


def of_deployment(name: str) -> Any:
    """A value of `prefect.runtime.deployment`; None where the flow was not started through one."""
    execution = current("flow")
    if execution is None or execution.run is None:
        return _outside(name)
    run = _objects.read(execution.run.run_id)
    deployment = run._run.deployment
    if name == "flow_run_id":
        return execution.run.run_id
    if not deployment:
        return _outside(name)
    if name == "id":
        return _id(_objects.id_of("deployment", deployment))
    if name == "name":
        return deployment.rpartition("/")[2]
    return execution.arguments if name == "parameters" else execution.function.version


def _of_run(name: str, execution: Execution, run: RunContext) -> Any:
    if name == "id":
        return run.run_id
    if name == "name":
        return block(client().peek_run(run.run_id)).run_name
    if name == "tags":
        return list(run.tags)
    if name == "run_count":
        return run.attempt
    if name == "parameters":
        return dict(execution.arguments)
    if name == "job_variables":
        return {}
    return f"{client().address}/runs/{run.run_id}"


def _outside(name: str, execution: Optional[Execution] = None) -> Any:
    if execution is not None:  # its name is made
        function = execution.function
        known = {"flow_name": function.name, "task_name": function.name, "flow_version": function.version}
        known.update(parameters=dict(execution.arguments), tags=list(function.options.tags))
        if name in known:
            return known[name]
    return {"tags": [], "parameters": {}, "run_count": 0}.get(name)


def _flow_above(run_id: str) -> Optional[str]:
    """The run, or the first above it that is one of a flow."""
    while run_id:
        run = RunHandle[Any](run_id).run()
        if run.kind == "flow":
            return run_id
        run_id = run.parent_run_id
    return None


def _id(value: Any) -> Optional[str]:
    return None if value is None else str(value)
