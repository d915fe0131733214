"""The JSON Schema of a function's parameters, from its signature and its type hints."""

from __future__ import annotations

import inspect
import json
from typing import Any

from .validation import Parameters, adapter_of

#: Where pydantic's schemas of models are referred to.
_REFERENCE = "#/$defs/{model}"
_NO_HINT: Any = inspect.Parameter.empty


def of_parameters(parameters: Parameters) -> str:
    """As text: an object with a property for each parameter, and the types that JSON Schema can say."""
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    required = []
    for name, parameter in parameters.signature.parameters.items():
        schema = _of_hint(parameters._hint(name), definitions)
        if parameter.kind is parameter.VAR_POSITIONAL:
            schema = {"type": "array", "items": schema}
        elif parameter.kind is parameter.VAR_KEYWORD:
            schema = {"type": "object", "additionalProperties": schema or True}
        elif parameter.default is parameter.empty:
            required.append(name)
        elif _is_json(parameter.default):
            schema = {**schema, "default": parameter.default}
        properties[name] = schema
    whole: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        whole["required"] = required
    if definitions:
        whole["$defs"] = definitions
    return json.dumps(whole)


def _of_hint(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """What a value of this type looks like in JSON; empty: anything. Adds to the definitions that it refers to."""
    if hint is _NO_HINT or hint is Any:
        return {}
    try:
        schema: dict[str, Any] = adapter_of(hint).json_schema(ref_template=_REFERENCE)
    except Exception:  # JSON Schema cannot say it: it is checked where the flow is executed
        return {}
    definitions.update(schema.pop("$defs", {}))
    return schema


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
