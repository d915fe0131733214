"""What a person gives to a flow run that waits for it."""

from __future__ import annotations

from typing import Annotated, Any, Optional

from pydantic import BaseModel, BeforeValidator, create_model


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
    if isinstance(wanted, _Described):
        return wanted.model, wanted.description
    if wanted is None or (isinstance(wanted, type) and issubclass(wanted, BaseModel)):
        return wanted, None
    return Annotated[wanted, BeforeValidator(_given)], None


def _given(run_input: Any) -> Any:
    """What is waited for may be given as the one field of a model, as Prefect has it, or as it is."""
    return run_input["value"] if isinstance(run_input, dict) and run_input.keys() == {"value"} else run_input
