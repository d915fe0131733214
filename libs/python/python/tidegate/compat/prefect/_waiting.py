"""Waiting for the end of runs, in plain code and in async code, where no thread waits."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any, Optional

from ... import _core
from ..._connection import awaited, block, client
from ...errors import WaitTimeout
from ._calls import is_async
from ._errors import FlowRunWaitTimeout, ObjectNotFound, translating
from ._objects import FlowRun, handle

#: How long `wait_for_flow_run` waits unless it is told, in seconds.
DEFAULT_SECONDS = 10_800


def ended(run_id: str, timeout: Optional[float]) -> _core.Run:
    """The run, once it has ended; raises :class:`WaitTimeout`."""
    run: _core.Run = block(client().wait(run_id), timeout, f"run {run_id}")
    return run


async def ended_async(run_id: str, timeout: Optional[float]) -> _core.Run:
    """As :func:`ended`."""
    try:
        run: _core.Run = await asyncio.wait_for(awaited(client().wait(run_id)), timeout)
    except asyncio.TimeoutError:
        raise WaitTimeout(f"run {run_id} has not ended within {timeout:g} s") from None
    return run


def wait_for_flow_run(
    flow_run_id: uuid.UUID | str,
    timeout: Optional[float] = DEFAULT_SECONDS,
    poll_interval: Optional[float] = None,
    client: Any = None,
    log_states: bool = False,
) -> Any:
    """The flow run, once it has ended. In async code await it.

    Raises FlowRunWaitTimeout when it has not within `timeout` seconds, and at once when there is no such flow run.
    """
    if is_async():
        return _wait_async(str(flow_run_id), timeout, log_states)
    with translating():
        run_id = _checked(flow_run_id, block(_peek(flow_run_id)))
    try:
        return _told(FlowRun(ended(run_id, timeout)), log_states)
    except WaitTimeout as error:
        raise FlowRunWaitTimeout(str(error)) from None


async def _wait_async(flow_run_id: str, timeout: Optional[float], log_states: bool) -> FlowRun:
    with translating():
        run_id = _checked(flow_run_id, await awaited(_peek(flow_run_id)))
    try:
        return _told(FlowRun(await ended_async(run_id, timeout)), log_states)
    except WaitTimeout as error:
        raise FlowRunWaitTimeout(str(error)) from None


def _peek(flow_run_id: uuid.UUID | str) -> _core.Op:
    return client().peek_run(handle(flow_run_id).id)


def _checked(flow_run_id: uuid.UUID | str, run: _core.Run) -> str:
    if run.kind != "flow":
        raise ObjectNotFound(f"{flow_run_id} is the id of a task run: give that of a flow run")
    return run.id


def _told(run: FlowRun, log_states: bool) -> FlowRun:
    if log_states:
        logging.getLogger("tidegate.run.flow_runs").info("flow run %s is %s", run.name, run.state.name)
    return run
