"""The state of a run."""

from __future__ import annotations

from typing import NamedTuple

_ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


class State(NamedTuple):
    """Where a run stands."""

    #: ``SCHEDULED PENDING RUNNING PAUSED CANCELLING COMPLETED FAILED CRASHED CANCELLED``.
    type: str
    #: What a person reads: ``AwaitingRetry``, ``TimedOut``, ….
    name: str
    #: One sentence with the cause, where there is one.
    message: str = ""

    def is_ended(self) -> bool:
        """True when nothing follows but by an explicit retry."""
        return self.type in _ENDED

    def is_completed(self) -> bool:
        """True when the code returned."""
        return self.type == "COMPLETED"

    def is_failed(self) -> bool:
        """True when the code raised and no retry was left."""
        return self.type == "FAILED"

    def is_crashed(self) -> bool:
        """True when the process went away and no redelivery was left."""
        return self.type == "CRASHED"

    def is_cancelled(self) -> bool:
        """True when it was cancelled."""
        return self.type == "CANCELLED"

    def is_running(self) -> bool:
        """True while the code runs."""
        return self.type == "RUNNING"
