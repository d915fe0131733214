"""Events that code emits."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timezone
from typing import Any, NamedTuple, Optional

from ..._logging import get_run_logger


class Event(NamedTuple):
    """What was emitted."""

    event: str
    resource: dict[str, str]
    related: list[dict[str, str]]
    payload: dict[str, Any]
    occurred: datetime
    id: uuid.UUID


def emit_event(
    event: str,
    resource: dict[str, str],
    occurred: Optional[datetime] = None,
    related: Optional[list[dict[str, str]]] = None,
    payload: Optional[dict[str, Any]] = None,
    id: Optional[uuid.UUID] = None,  # noqa: A002 - as users write it
    follows: Optional[Event] = None,
) -> Event:
    """Writes the event to the log of the run that calls it, as a line of JSON. Nothing else hears of it."""
    made = Event(event, resource, related or [], payload or {}, occurred or datetime.now(timezone.utc), id or uuid.uuid4())
    get_run_logger("events").info("%s", json.dumps(made._asdict(), default=str))
    return made
