"""Values that a deployment keeps, merges and checks: JSON, which people and any language read."""

from __future__ import annotations

import json
from typing import Any, Mapping, Optional

from .errors import InvalidArgument
from .validation import is_json


def as_json(parameters: dict[str, Any], what: str) -> dict[str, Any]:
    """The parameters as JSON, which a deployment merges and checks."""
    if is_json(parameters):
        return parameters
    from pydantic_core import to_jsonable_python

    try:
        plain: dict[str, Any] = to_jsonable_python(parameters)
    except Exception as error:
        raise InvalidArgument(
            f"{what} are no JSON ({error}), which a deployment needs, to merge them over its own and to check them: pass "
            "texts, numbers, lists, dicts and the like, or where the data is"
        ) from None
    return plain


def as_json_object(variables: Optional[Mapping[str, Any]], what: str) -> str:
    """Job variables as the JSON object that they travel as; empty: none."""
    if not variables:
        return ""
    try:
        return json.dumps(dict(variables), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"{what} are no JSON object: {error}. Give a dict of texts, numbers, lists and dicts"
        ) from None
