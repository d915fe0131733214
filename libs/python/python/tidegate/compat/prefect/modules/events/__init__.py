"""`prefect.events`."""

from ..._events import Event, emit_event

__all__ = ["Event", "emit_event"]
