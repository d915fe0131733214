"""What Prefect raises, and Tidegate's errors as that."""

from __future__ import annotations

import builtins
import sys
from contextlib import contextmanager
from typing import Iterator, Optional

from ...errors import AlreadyExists, NotFound, ParameterError, RunCancelled, RunCrashed, RunFailed, UpstreamFailed


class PrefectException(Exception):
    """The base of what Prefect raises."""


class CrashedRun(PrefectException):
    """The process that executed a run went away."""


class FailedRun(PrefectException):
    """A run failed, and what its code raised is not of a type that this process knows."""

    #: The code returned a state that says so: its message is that of the run's state.
    _is_state = False


class CancelledRun(PrefectException):
    """A run was cancelled."""


class PausedRun(PrefectException):
    """The result of a paused run was asked for."""


class UnfinishedRun(PrefectException):
    """The result of a run that has not ended was asked for."""


class UpstreamTaskError(FailedRun):
    """A run was not executed, as one whose result it needs has failed."""


class MissingResult(PrefectException):
    """A run has a result that was not kept."""


class MissingFlowError(PrefectException):
    """There is no such flow."""


class UnspecifiedFlowError(PrefectException):
    """It is not clear which flow is meant."""


class ScriptError(PrefectException):
    """A script raised when it was loaded."""


class ParameterTypeError(PrefectException):
    """A parameter has not the type that its hint asks for."""


class SignatureMismatchError(PrefectException, TypeError):
    """Parameters do not fit the signature."""


class ParameterBindError(ParameterTypeError, SignatureMismatchError, ValueError):
    """Arguments do not fit the parameters, by name or by type."""


class MappingLengthMismatch(PrefectException):
    """`map` was given iterables of different lengths."""


class MappingMissingIterable(PrefectException):
    """`map` was given nothing to take items from."""


class ReservedArgumentError(PrefectException, TypeError):
    """A function has a parameter of a name that is taken."""


class InvalidNameError(PrefectException, ValueError):
    """A name has characters that are not allowed."""


class MissingContextError(PrefectException, RuntimeError):
    """Code that needs a run was called outside of any."""


class ObjectNotFound(NotFound, PrefectException):
    """There is no such run, deployment or variable."""


class ObjectAlreadyExists(PrefectException, ValueError):
    """There is one of this name already."""


class ObjectLimitReached(PrefectException):
    """There are as many as are allowed."""


class ObjectUnsupported(PrefectException):
    """What was asked for cannot be done to this."""


class NotPausedError(PrefectException):
    """A run that is not paused was to be resumed."""


class FlowPauseTimeout(PrefectException):
    """Nobody resumed a paused run in time."""


class FlowRunWaitTimeout(PrefectException, TimeoutError):
    """A flow run did not end in time. It goes on."""


class InfrastructureError(PrefectException):
    """What was to execute a run failed."""


class InfrastructureNotFound(InfrastructureError):
    """What was to execute a run is not there."""


class InfrastructureNotAvailable(InfrastructureError):
    """What was to execute a run cannot be reached."""


class ConfigurationError(PrefectException):
    """A setting is wrong."""


class SerializationError(PrefectException):
    """A value cannot be written or read."""


class HashError(PrefectException):
    """A value cannot be hashed for a cache key."""


class PrefectSignal(BaseException):
    """The base of what ends running code."""


class Abort(PrefectSignal):
    """The run is to end at once."""


class Pause(PrefectSignal):
    """The run is to pause."""


class TimedOut(TimeoutError, FailedRun):
    """A run did not end within its `timeout_seconds`."""


def translated(error: BaseException) -> BaseException:
    """What Prefect would raise where Tidegate raises `error`."""
    if isinstance(error, PrefectException):
        return error
    found: Optional[BaseException] = None
    if isinstance(error, UpstreamFailed):
        found = UpstreamTaskError(str(error))
    elif isinstance(error, RunFailed):
        found = TimedOut(str(error)) if error.error_type == "TimedOut" else _raised(error)
    elif isinstance(error, RunCrashed):
        found = CrashedRun(str(error))
    elif isinstance(error, RunCancelled):
        found = CancelledRun(str(error))
    elif isinstance(error, ParameterError):
        found = ParameterBindError(str(error))
    elif isinstance(error, AlreadyExists):
        found = ObjectAlreadyExists(str(error))
    elif isinstance(error, NotFound):
        found = ObjectNotFound(str(error))
    if found is None:
        return error
    found.__cause__ = error
    return found


@contextmanager
def translating() -> Iterator[None]:
    """Around code that raises Tidegate's errors."""
    try:
        yield
    except Exception as error:
        found = translated(error)
        if found is error:
            raise
        raise found from error


def _raised(error: RunFailed) -> BaseException:
    """What the code of a run raised in another process, where this one knows the type and it is made of one message."""
    module, _, name = error.error_type.rpartition(".")
    kind = getattr(sys.modules.get(module, builtins) if module else builtins, name, None)
    if not module and kind is None:
        kind = getattr(sys.modules.get("__main__"), name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            made = kind(error.error_message)
        except Exception:  # it wants other arguments
            made = None
        # One that makes its own message of its arguments would say something else.
        if made is not None and str(made) in (error.error_message, repr(error.error_message)):
            return made
    return FailedRun(f"{error.error_type}: {error.error_message}")
