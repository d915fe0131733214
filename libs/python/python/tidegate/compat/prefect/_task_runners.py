"""How many submitted runs of a flow execute at once."""

from __future__ import annotations

from typing import Optional


class ThreadPoolTaskRunner:
    """In threads."""

    def __init__(self, max_workers: Optional[int] = None) -> None:
        self.max_workers = max_workers


ConcurrentTaskRunner = ThreadPoolTaskRunner
