"""What a person gives to a flow run that waits for it."""

from __future__ import annotations

from typing import Any, Optional

from pydantic import BaseModel, TypeAdapter

from ... import _payload


class RunInput(BaseModel):
    """The base of models of what a run waits for."""

    @classmethod
    def with_initial_data(cls, description: Optional[str] = None, **values: Any) -> _Described:
        """The same, with a description and defaults for who fills it in."""
        return _Described(cls, description, values)


class _Described:
    def __init__(self, model: type[RunInput], description: Optional[str], values: dict[str, Any]) -> None:
        self.model = model
        self.description = description
        self.values = values


def request_of(wanted: Any) -> Optional[dict[str, Any]]:
    """What is asked for, as whoever resumes the run can read it."""
    if wanted is None:
        return None
    request: dict[str, Any] = {}
    if isinstance(wanted, _Described):
        request = {"description": wanted.description, "initial": wanted.values}
        wanted = wanted.model
    return {**request, "schema": TypeAdapter(wanted).json_schema()}


def decoded(payload: Any, wanted: Any) -> Any:
    """What was given, as the type that is wanted."""
    value = _payload.decode(payload, "what the run was resumed with")
    if wanted is None:
        return None
    if not isinstance(wanted, _Described):
        return TypeAdapter(wanted).validate_python(value)
    given = value if isinstance(value, dict) else {}
    return wanted.model.model_validate({**wanted.values, **given})
