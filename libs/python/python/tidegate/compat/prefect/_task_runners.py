"""Task runners, with the defaults that Prefect's have."""

from __future__ import annotations

from typing import Optional

from ... import runners

_N_THREADS = runners.ThreadPoolTaskRunner.max_workers


class ThreadPoolTaskRunner(runners.ThreadPoolTaskRunner):
    """Threads; the default."""

    def __init__(self, max_workers: Optional[int] = None) -> None:
        super().__init__(max_workers or _N_THREADS)


class ProcessPoolTaskRunner(runners.ProcessPoolTaskRunner):
    """Processes."""

    def __init__(self, max_workers: Optional[int] = None) -> None:
        super().__init__(max_workers or 0)


ConcurrentTaskRunner = ThreadPoolTaskRunner
