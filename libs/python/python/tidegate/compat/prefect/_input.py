"""What a person gives to a flow run that waits for it."""

from __future__ import annotations

from typing import Any, Optional

from pydantic import BaseModel, create_model


class RunInput(BaseModel):
    """The base of models of what a run waits for."""

    @classmethod
    def with_initial_data(cls, description: Optional[str] = None, **values: Any) -> _Described:
        """The same, with a description and defaults for who fills it in."""
        return _Described(cls, description, values)


class _Described:
    def __init__(self, model: type[RunInput], description: Optional[str], values: dict[str, Any]) -> None:
        fields: dict[str, Any] = {name: (model.model_fields[name].annotation, value) for name, value in values.items()}
        self.model = create_model(model.__name__, __base__=model, **fields)
        self.description = description


def asked(wanted: Any) -> tuple[Any, Optional[str]]:
    """The type that is waited for, and what is said to who gives it."""
    return (wanted.model, wanted.description) if isinstance(wanted, _Described) else (wanted, None)
