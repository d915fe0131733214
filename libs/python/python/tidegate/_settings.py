"""Numbers that the environment says."""

from __future__ import annotations

import math
import os

from .errors import InvalidArgument


def seconds(variable: str, default: float, what: str) -> float:
    """The seconds in `variable` of the environment, from 0 on; `what` they are, for who has written something else."""
    text = os.environ.get(variable, "")
    try:
        value = float(text) if text else default
        if 0 <= value < math.inf:
            return value
    except ValueError:
        pass
    raise InvalidArgument(f"{variable}={text} is no number of seconds: say {what}")
