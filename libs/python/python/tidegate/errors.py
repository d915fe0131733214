"""All exceptions of Tidegate, under one base: :class:`TidegateError`."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Union


class TidegateError(Exception):
    """The base of all exceptions of this package.

    `reason` is the server's name of the cause, such as ``STALE_EPOCH``, or empty.
    """

    reason: str = ""
    #: What kind of error it is: the name of the one method that tells so, without ``is_``.
    kind: str = "internal"

    def is_invalid_argument(self) -> bool:
        """An argument is wrong."""
        return self.kind == "invalid_argument"

    def is_not_found(self) -> bool:
        """There is no such run, deployment or limit."""
        return self.kind == "not_found"

    def is_already_exists(self) -> bool:
        """The idempotency key or id was used for something else."""
        return self.kind == "already_exists"

    def is_failed_precondition(self) -> bool:
        """The state of things does not allow it."""
        return self.kind == "failed_precondition"

    def is_exhausted(self) -> bool:
        """The server is at a bound; later it may work."""
        return self.kind == "exhausted"

    def is_unavailable(self) -> bool:
        """No server answers."""
        return self.kind == "unavailable"

    def is_deadline_exceeded(self) -> bool:
        """The time given was not enough."""
        return self.kind == "deadline_exceeded"

    def is_unauthenticated(self) -> bool:
        """The server does not know who calls."""
        return self.kind == "unauthenticated"

    def is_permission_denied(self) -> bool:
        """The caller may not do this."""
        return self.kind == "permission_denied"

    def is_internal(self) -> bool:
        """A fault of the server or of this package."""
        return self.kind == "internal"

    def is_run_failed(self) -> bool:
        """The run's code raised."""
        return self.kind == "run_failed"

    def is_run_crashed(self) -> bool:
        """The run's process went away."""
        return self.kind == "run_crashed"

    def is_run_cancelled(self) -> bool:
        """The run was cancelled."""
        return self.kind == "run_cancelled"

    def is_payload(self) -> bool:
        """A value cannot be written or read."""
        return self.kind == "payload"

    def is_retryable(self) -> bool:
        """The same call may succeed later."""
        return self.kind in ("unavailable", "exhausted", "deadline_exceeded")


class ServerUnavailable(TidegateError):
    """No server answers. The message says how to start one."""

    kind = "unavailable"


class NotFound(TidegateError):
    """There is no such run, or deployment."""

    kind = "not_found"


class InvalidArgument(TidegateError, ValueError):
    """An argument is wrong; the message says which, and how to mend it."""

    kind = "invalid_argument"


class ParameterError(InvalidArgument, TypeError):
    """A function is called with what it does not take; the message names function, parameter, value and type."""


class AlreadyExists(TidegateError):
    """The idempotency key was used before with other parameters."""

    kind = "already_exists"


class PayloadError(TidegateError):
    """A value can be written neither as JSON nor as a pickle, or cannot be read back."""

    kind = "payload"


class WaitTimeout(TidegateError, TimeoutError):
    """The run did not end within the given time. It goes on."""

    kind = "deadline_exceeded"

    #: Of a run that was started and waited for by one call: its handle.
    handle: Any = None
    #: The same for many.
    handles: Sequence[Any] = ()


class SlotsLost(TidegateError):
    """Others may have had the slots of a block, or of a call, before its code ended: no server heard of this process for as
    long as its lease lasts."""

    kind = "failed_precondition"


class WouldDeadlock(TidegateError, RuntimeError):
    """Code of an event loop is to wait for something that only this event loop can do, or may have to. The message says what
    to await."""

    kind = "failed_precondition"


class NonRetryable(TidegateError):
    """Raise it in a task or flow when a further attempt cannot succeed: no retry is made."""

    kind = "run_failed"


class RunError(TidegateError):
    """A run ended without a result."""

    def __init__(self, message: str, run_id: str = "") -> None:
        super().__init__(message)
        #: The run that ended so.
        self.run_id = run_id


class RunFailed(RunError):
    """The code of a run raised, and no retry was left."""

    kind = "run_failed"

    def __init__(
        self, message: str, run_id: str = "", error_type: str = "", error_message: str = "", traceback: str = ""
    ) -> None:
        super().__init__(message, run_id)
        #: What was raised, as its language names it: ``ValueError``.
        self.error_type = error_type
        #: What the error said of itself.
        self.error_message = error_message
        #: The stack trace in the process that executed the run.
        self.traceback = traceback

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n\nIn the process that executed it:\n{self.traceback}" if self.traceback else text


class UpstreamFailed(RunFailed):
    """A run was not executed because a run whose result it needs has failed."""


class RunCrashed(RunError):
    """The process that executed the run went away, and no redelivery was left."""

    kind = "run_crashed"


class RunCancelled(RunError):
    """The run was cancelled."""

    kind = "run_cancelled"


class Interrupted(BaseException):
    """Raised inside running code that is to stop: its run was cancelled, lost, or is out of time.

    It is no :class:`Exception`, so that an ``except Exception`` in user code does not swallow it.
    """


_KINDS: dict[str, type[TidegateError]] = {
    "invalid_argument": InvalidArgument,
    "not_found": NotFound,
    "already_exists": AlreadyExists,
    "unavailable": ServerUnavailable,
    "exhausted": ServerUnavailable,
    "deadline_exceeded": ServerUnavailable,  # of a call; waits have their own
    "payload": PayloadError,
}


def _from_core(kind: str, reason: str, message: str) -> TidegateError:
    """The exception for an error of the core."""
    if reason == "SESSION_LOST":
        error: TidegateError = RunCrashed(message)
    else:
        error = _KINDS.get(kind, TidegateError)(message)
        error.kind = kind
    error.reason = reason
    return error


def _type_name(kind: Union[str, type[BaseException]]) -> str:
    """What was raised, as Python names it: ``ValueError``, ``requests.exceptions.Timeout``."""
    if isinstance(kind, str):
        return kind
    is_plain = kind.__module__ in ("builtins", "__main__", "tidegate.errors")
    return kind.__qualname__ if is_plain else f"{kind.__module__}.{kind.__qualname__}"


def _of_ended_run(
    run_id: str, name: str, state: tuple[str, str, str], failure: Optional[tuple[str, str, str]]
) -> Optional[TidegateError]:
    """What the end of a run means to someone who wants its result; None when it is COMPLETED."""
    state_type, state_name, message = state
    what = f"run {run_id} ({name})"
    if state_type == "COMPLETED":
        return None
    if state_type == "FAILED":
        # The type is of one that needed what never became a run, so that it has no state of its own.
        is_upstream = "UpstreamFailed" in (state_name, failure and failure[0])
        kind = UpstreamFailed if is_upstream else RunFailed
        if failure is None or state_name == "TimedOut":
            return kind(f"{what} failed: {message or state_name}", run_id, state_name, message)
        error_type, error_message, traceback = failure
        cause = f"{error_type}: {error_message}" if error_type else error_message
        return kind(f"{what} failed: {cause}", run_id, error_type, error_message, traceback)
    if state_type == "CRASHED":
        return RunCrashed(f"{what} crashed: {message or state_name}", run_id)
    if state_type == "CANCELLED":
        return RunCancelled(f"{what} was cancelled: {message or state_name}", run_id)
    return TidegateError(f"{what} has not ended: it is {state_type}")
