"""Code that waits until a person, or another program, has its run go on."""

from __future__ import annotations

from typing import Any, Optional

from . import _payload
from ._connection import awaited, block
from ._runtime import Answer, current_run
from .errors import InvalidArgument


def pause(key: str = "pause", *, request: Any = None, timeout: Optional[float] = None) -> Any:
    """Has the current run wait here until it is resumed, and gives what it is resumed with.

    In async code await it. The run is PAUSED meanwhile, and keeps its process; resume it by :meth:`RunHandle.resume` or
    `tidegate run resume`. An attempt that comes again to a pause that was resumed does not stop there, and gets the same
    input. The run's `timeout_seconds` begin anew when it goes on.

    :param key: which pause of the code it is: another for each place where it waits, the same in every attempt.
    :param request: what the code asks for; whoever resumes the run can read it.
    :param timeout: how long it waits, in seconds, before the run fails. 1 s to 365 days. Default: for ever.
    """
    return _wait(key, request, timeout, False)


def suspend(key: str = "pause", *, request: Any = None, timeout: Optional[float] = None) -> Any:
    """As :func:`pause`, but gives the worker back while the run waits: the code is ended here, and executed from its
    start when the run is resumed. What its children returned, and what earlier pauses were resumed with, is kept.

    For queued runs (`.delay()`) alone: nobody would execute another again.
    """
    return _wait(key, request, timeout, True)


def _wait(key: str, request: Any, timeout: Optional[float], suspend: bool) -> Any:
    name = "suspend" if suspend else "pause"
    run = current_run()
    if run is None or run._pauser is None:
        raise InvalidArgument(f"{name}() has a run wait: call it in the code of a flow or task")
    if suspend and not run._is_queued:
        raise InvalidArgument(
            f"suspend() needs a queued run, which a worker can execute again, but `{run.name}` is executed by the process "
            "that called it: use pause(), or start it by .delay()"
        )
    encoded = None if request is None else _payload.encode(request, f"the request of the pause `{key}`")
    op = run._pauser.pause(key, timeout=timeout, suspend=suspend, request=encoded)
    what = f"what the pause `{key}` was resumed with"
    return _awaited_input(op, what) if run._is_async else _payload.decode(block(op), what)


async def _awaited_input(op: Answer, what: str) -> Any:
    return _payload.decode(await awaited(op), what)
