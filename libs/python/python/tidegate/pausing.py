"""Code that waits until a person, or another program, has its run go on."""

from __future__ import annotations

from typing import Any, Optional

from . import _payload
from ._connection import awaited, block
from ._dual import Pending, Steps
from ._dual import run as take
from ._logging import get_run_logger
from ._runtime import Answer, RunContext, current_run
from .errors import InvalidArgument
from .validation import adapter_of


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


def wait_for_input(
    key: str, type: Any, *, request: Any = None, timeout: Optional[float] = None, suspend: bool = False
) -> Any:
    """As :func:`pause`, for input of a type: a pydantic model, or any type hint. Gives a value of it.

    In async code await it. Input that is of another type is refused: the run goes on to wait under the key ``key#2`` and so
    on, its request says what was wrong with which field, and so does the run's log. The server itself takes any input; what
    the type is, it learns as a JSON schema from the request: ``{"request": …, "schema": …}``.

    :param type: what the input is to be.
    :param request: what the code asks for; whoever resumes the run can read it.
    :param timeout: how long each wait lasts, in seconds, before the run fails. 1 s to 365 days. Default: for ever.
    :param suspend: as :func:`suspend`: the worker is given back meanwhile.
    """
    run = _pausable("wait_for_input", suspend)
    steps = _asked(run, key, type, request, timeout, suspend)
    return Pending(steps) if run._is_async else take(steps)


def _asked(
    run: RunContext, key: str, type: Any, request: Any, timeout: Optional[float], suspend: bool
) -> Steps[Any]:
    adapter = adapter_of(type)
    if adapter is None:
        raise InvalidArgument(
            f"the input of the pause `{key}` cannot be of the type {type!r}: give a pydantic model or a type hint"
        )
    from pydantic import ValidationError

    asked: dict[str, Any] = {"request": request, "schema": _schema(adapter)}
    assert run._pauser is not None
    n = 1
    while True:
        name = key if n == 1 else f"{key}#{n}"
        encoded = _payload.encode_readable(asked, f"the request of the pause `{name}`")
        op: Any = run._pauser.pause(name, timeout=timeout, suspend=suspend, request=encoded)
        given = yield op
        value = _payload.decode(given, f"what the pause `{name}` was resumed with")
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, fault['loc'])) or 'the input'}: {fault['msg']}" for fault in error.errors()]
            asked["refused"] = "; ".join(faults)
            get_run_logger("tidegate.input").warning("the input for `%s` is refused: %s", name, asked["refused"])
            n += 1


def _schema(adapter: Any) -> Any:
    try:
        return adapter.json_schema()
    except Exception:  # a type that JSON has no schema for can be given as a pickle all the same
        return None


def _wait(key: str, request: Any, timeout: Optional[float], suspend: bool) -> Any:
    run = _pausable("suspend" if suspend else "pause", suspend)
    assert run._pauser is not None
    encoded = None if request is None else _payload.encode_readable(request, f"the request of the pause `{key}`")
    op = run._pauser.pause(key, timeout=timeout, suspend=suspend, request=encoded)
    what = f"what the pause `{key}` was resumed with"
    return _awaited_input(op, what) if run._is_async else _payload.decode(block(op), what)


def _pausable(name: str, suspend: bool) -> RunContext:
    """The current run, which may wait."""
    run = current_run()
    if run is None or run._pauser is None:
        raise InvalidArgument(f"{name}() has a run wait: call it in the code of a flow or task")
    if suspend and not run._is_queued:
        raise InvalidArgument(
            f"suspend() needs a queued run, which a worker can execute again, but `{run.name}` is executed by the process "
            "that called it: use pause(), or start it by .delay()"
        )
    return run


async def _awaited_input(op: Answer, what: str) -> Any:
    return _payload.decode(await awaited(op), what)
