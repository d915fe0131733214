"""Helpers for the options of tasks."""

from __future__ import annotations

import hashlib
import json
import pickle
from typing import Any, Callable, Optional


def task_input_hash(context: Any, arguments: dict[str, Any]) -> Optional[str]:
    """A `cache_key_fn`: the same for the same arguments."""
    try:
        data = json.dumps(arguments, sort_keys=True).encode()
    except (TypeError, ValueError):
        data = pickle.dumps(arguments, protocol=4)
    return hashlib.sha256(data).hexdigest()


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """For `retry_delay_seconds`: each delay is twice the one before, the first is `backoff_factor`."""

    def delays(retries: int) -> list[float]:
        return [backoff_factor * 2**n for n in range(min(retries, 50))]

    return delays
