"""What a flow or task returns: a value, states, or futures."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ..._connection import SLICE_SECONDS, awaited, block, client
from ..._runtime import current_run
from ._errors import CancelledRun, FailedRun
from ._futures import PrefectFuture, replaced, resolve_futures_to_states
from ._states import State, is_states, return_value_to_state


def settled(value: Any) -> Any:
    """What the run's result is; raises where the run is to fail."""
    value = _with_states(value)
    if isinstance(value, State) and value.is_cancelled():
        run = current_run()
        if run is None:  # it is not recorded
            raise CancelledRun(value.message or "the code returned a cancelled state")
        block(client().cancel(run.run_id, value.message or "the code returned a cancelled state"))
        while True:
            time.sleep(SLICE_SECONDS)  # it is interrupted here
    return _settled(value)


async def settled_async(value: Any) -> Any:
    """As :func:`settled`, in async code."""
    if _has_futures(value):
        value = await asyncio.to_thread(_with_states, value)
    if isinstance(value, State) and value.is_cancelled():
        run = current_run()
        if run is None:
            raise CancelledRun(value.message or "the code returned a cancelled state")
        await awaited(client().cancel(run.run_id, value.message or "the code returned a cancelled state"))
        await asyncio.Event().wait()  # it is interrupted here
    return _settled(value)


def _with_states(value: Any) -> Any:
    if not _has_futures(value):
        return value
    is_one = isinstance(value, PrefectFuture)
    states = resolve_futures_to_states(value)
    return states._outcome() if is_one else states


def _has_futures(value: Any) -> bool:
    if isinstance(value, PrefectFuture):
        return True
    if isinstance(value, dict):
        return any(map(_has_futures, value.values()))
    return isinstance(value, (list, tuple, set)) and any(map(_has_futures, value))


def _settled(value: Any) -> Any:
    state = return_value_to_state(value) if isinstance(value, State) or is_states(value) else None
    if state is None:
        return value
    if not state.is_final():
        raise FailedRun(f"the code returned a state that is {state.type.value}, which is no end")
    run = current_run()
    if run is not None and state.is_completed():
        # Whatever it is: words that cannot be sent are no reason to execute the run again.
        run._said = str(state.message or "").encode("utf-8", "replace").decode()
    try:
        outcome = state._outcome()
    except FailedRun as error:
        error._is_state = error is not state.data
        raise
    return outcome
