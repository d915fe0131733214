"""What the running code belongs to: ``from tidegate.runtime import flow_run`` and then ``flow_run.id``.

Each attribute is read when it is asked for. Outside of a run, and where the run has no such thing, it is None.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Optional

from . import _core
from ._connection import block, client
from ._runtime import RunContext, current_run

__all__ = ["deployment", "flow_run", "task_run"]

#: Runs whose facts were asked for; those that are told from here do not change.
_peeked: dict[str, _core.Run] = {}
_MAX_PEEKED = 1_000


class RunView:
    """The run of the kind `kind` that the code belongs to: its own, or the nearest one above it."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    @property
    def id(self) -> Optional[str]:
        """The run's id."""
        run = self._run()
        return run.run_id if isinstance(run, RunContext) else run.id if run is not None else None

    @property
    def name(self) -> Optional[str]:
        """What people call the run."""
        run = self._whole()
        return run.run_name if run is not None else None

    @property
    def function_name(self) -> Optional[str]:
        """The name of the flow or task."""
        run = self._run()
        return run.name if run is not None else None

    #: The same, by the words that users know.
    flow_name = task_name = function_name

    @property
    def parameters(self) -> Optional[dict[str, Any]]:
        """What it is called with, by name; None for a run of another process."""
        run = self._run()
        return run.parameters if isinstance(run, RunContext) else None

    @property
    def attempt(self) -> Optional[int]:
        """The number of the attempt, from 1."""
        run = self._run()
        if run is None or isinstance(run, RunContext):
            return run.attempt if run is not None else None
        fresh: _core.Run = block(client().peek_run(run.id))
        return fresh.attempt

    #: The same, by the word that users know.
    run_count = attempt

    @property
    def tags(self) -> Optional[list[str]]:
        """The run's tags."""
        run = self._run()
        return list(run.tags) if run is not None else None

    @property
    def labels(self) -> Optional[dict[str, str]]:
        """The run's labels."""
        run = self._whole()
        return run.labels if run is not None else None

    @property
    def schedule(self) -> Optional[str]:
        """The schedule of its deployment that made it, or None."""
        run = self._whole()
        return run.schedule or None if run is not None else None

    @property
    def scheduled_start_time(self) -> Optional[datetime]:
        """The time of the schedule that it was made for, whatever jitter, delays and retries came on top; None for a run that
        no schedule made."""
        run = self._whole()
        at = run.fire_at if run is not None else None
        return datetime.fromtimestamp(at, timezone.utc) if at is not None else None

    @property
    def parent_run_id(self) -> Optional[str]:
        """The run that started it, of whatever kind."""
        run = self._run()
        return run.parent_run_id or None if run is not None else None

    @property
    def parent_flow_run_id(self) -> Optional[str]:
        """The nearest flow run above it."""
        parent = self.parent_run_id
        while parent:
            run = _peek(parent)
            if run.kind == "flow":
                return run.id
            parent = run.parent_run_id
        return None

    @property
    def root_run_id(self) -> Optional[str]:
        """The uppermost run above it; its own id where there is none."""
        run = self._run()
        return run.root_run_id or self.id if run is not None else None

    #: The same, by the word that users know.
    root_flow_run_id = root_run_id

    def _run(self) -> Any:
        """The context of this process, or what the server knows."""
        current = current_run()
        if current is None or current.kind == self._kind:
            return current
        if self._kind == "task":
            return None
        parent, caller = current.parent_run_id, current._caller
        while parent:
            run: Any
            if caller is not None and caller.run_id == parent:
                run, caller = caller, caller._caller  # of this process, which knows more of it
            else:
                run, caller = _peek(parent), None
            if run.kind == self._kind:
                return run
            parent = run.parent_run_id
        return None

    def _whole(self) -> Optional[_core.Run]:
        run_id = self.id
        return _peek(run_id) if run_id else None

    def __repr__(self) -> str:
        return f"<tidegate.runtime.{self._kind}_run {self.id}>"


class DeploymentView:
    """The deployment that the run, or the uppermost run above it, was started through."""

    @property
    def name(self) -> Optional[str]:
        """``flow/deployment``."""
        current = current_run()
        if current is None:
            return None
        own = _peek(current.run_id).deployment
        return own or _peek(current.root_run_id).deployment or None

    #: Deployments are known by their names.
    id = name

    def __repr__(self) -> str:
        return f"<tidegate.runtime.deployment {self.name}>"


def _peek(run_id: str) -> _core.Run:
    run = _peeked.get(run_id)
    if run is None:
        run = block(client().peek_run(run_id))
        if len(_peeked) >= _MAX_PEEKED:
            _peeked.clear()
        _peeked[run_id] = run
    return run


#: The flow run: the current one, or that which the current task belongs to.
flow_run = RunView("flow")
#: The task run.
task_run = RunView("task")
#: The deployment.
deployment = DeploymentView()
