"""Flow runs that wait for people."""

from __future__ import annotations

import uuid
from typing import Any, Optional

from ... import pausing
from ..._dual import Pending, Steps
from ..._dual import run as take
from ..._runtime import RunContext
from ...errors import TidegateError
from ._calls import current, dual, is_async
from ._errors import MissingContextError, NotPausedError, translating
from ._input import asked
from ._objects import handle

#: How long a run waits to be resumed unless it is told, in seconds.
DEFAULT_SECONDS = 3_600


def pause_flow_run(
    wait_for_input: Any = None, timeout: float = DEFAULT_SECONDS, poll_interval: float = 10, key: Optional[str] = None
) -> Any:
    """Has the flow run wait here until it is resumed; the process stays. With `wait_for_input`, a type, it gives what the
    run is resumed with. In async code await it."""
    return _wait(wait_for_input, timeout, key, suspend=False)


def suspend_flow_run(
    wait_for_input: Any = None,
    flow_run_id: uuid.UUID | str | None = None,
    timeout: Optional[float] = DEFAULT_SECONDS,
    key: Optional[str] = None,
) -> Any:
    """As :func:`pause_flow_run`, but the code is ended here, and executed from its start when the run is resumed. With
    `flow_run_id` another run is suspended. In async code await it."""
    if flow_run_id is None:
        return _wait(wait_for_input, timeout, key, suspend=True)
    return dual(_suspend)(str(flow_run_id), timeout)


def _suspend(flow_run_id: str, timeout: Optional[float]) -> None:
    with translating():
        handle(flow_run_id).pause(timeout)


@dual
def resume_flow_run(flow_run_id: uuid.UUID | str, run_input: Optional[dict[str, Any]] = None) -> None:
    """Has a paused flow run go on. In async code await it."""
    paused = handle(flow_run_id)
    with translating():
        try:
            paused.resume(run_input)
        except TidegateError as error:
            if not paused.state.type == "PAUSED":
                raise NotPausedError(str(error)) from error
            raise


def _wait(wait_for_input: Any, timeout: Optional[float], key: Optional[str], *, suspend: bool) -> Any:
    name = "suspend_flow_run" if suspend else "pause_flow_run"
    execution = current()
    if execution is None or execution.run is None:
        raise MissingContextError(f"{name}() has a flow run wait: call it in the code of a flow")
    if execution.function.kind != "flow":
        raise RuntimeError(f"{name}() was called in a task: call it in the flow itself")
    if suspend and not execution.run._is_queued:
        raise RuntimeError(
            f"{name}() needs a run that a worker can execute again, but `{execution.function.name}` is executed by the "
            "process that called it: use pause_flow_run(), or start it through a deployment or by .delay()"
        )
    n = next(execution.pauses)
    key = key or ("pause" if n == 1 else f"pause-{n}")
    wanted, description = asked(wait_for_input)
    if wanted is not None:
        steps = pausing._asked(execution.run, key, wanted, description, timeout, suspend)
    else:
        steps = _steps(execution.run, key, timeout, suspend)
    return Pending(steps) if is_async() else take(steps)


def _steps(run: RunContext, key: str, timeout: Optional[float], suspend: bool) -> Steps[None]:
    assert run._pauser is not None
    op: Any = run._pauser.pause(key, timeout=timeout, suspend=suspend)
    yield op
