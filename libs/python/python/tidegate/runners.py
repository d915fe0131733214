"""Task runners: where the submitted children of a flow are executed.

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=4))
    def render(frames: list[str]) -> list[str]:
        return [future.result() for future in draw.map(frames)]

A task with an `execution` of its own is executed as that says, whatever the runner.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from .errors import InvalidArgument


class TaskRunner:
    """The base of the runners."""

    @property
    def _n_threads(self) -> int:
        """Submitted runs that have a thread at once: their own, or one that waits for their process."""
        raise NotImplementedError


@dataclass(frozen=True)
class ThreadPoolTaskRunner(TaskRunner):
    """Threads of the flow's process; the default. Async functions share an event loop."""

    #: Runs of sync functions at once.
    max_workers: int = 32

    def __post_init__(self) -> None:
        _check(self, "max_workers", self.max_workers)

    @property
    def _n_threads(self) -> int:
        return self.max_workers


@dataclass(frozen=True)
class ProcessPoolTaskRunner(TaskRunner):
    """Processes, each of which executes one run at a time: for code that computes, and for code that may crash.

    Functions, arguments and results must be picklable. A process that dies is the end of the run that it executed, whose
    future then raises :class:`RunCrashed`; the flow goes on. A run that is out of time or cancelled is killed if it does
    not end by itself.
    """

    #: Runs at once. Default: one for each processor that this process may use.
    max_workers: int = 0

    def __post_init__(self) -> None:
        if self.max_workers == 0:
            object.__setattr__(self, "max_workers", n_processors())
        _check(self, "max_workers", self.max_workers)

    @property
    def _n_threads(self) -> int:
        return self.max_workers


@dataclass(frozen=True)
class AsyncTaskRunner(TaskRunner):
    """An event loop for async functions, with a bound. Sync functions have threads, as by default."""

    #: Runs of async functions at once.
    max_concurrency: int = 1_000

    def __post_init__(self) -> None:
        _check(self, "max_concurrency", self.max_concurrency)

    @property
    def _n_threads(self) -> int:
        return ThreadPoolTaskRunner().max_workers


def _check(runner: TaskRunner, name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidArgument(f"{type(runner).__name__}({name}={value!r}): it is a whole number from 1")


def n_processors() -> int:
    """Those that this process may use; 1 where the system does not say."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not everywhere
        return os.cpu_count() or 1


def runner_of(given: Any) -> Any:
    """The runner that was given as an option: an instance, or a class for one with its defaults."""
    runner = given() if isinstance(given, type) and issubclass(given, TaskRunner) else given
    if runner is None or isinstance(runner, TaskRunner):
        return runner
    names = "ThreadPoolTaskRunner, ProcessPoolTaskRunner or AsyncTaskRunner"
    raise InvalidArgument(f"task_runner={given!r}: it is a {names}, from tidegate.runners")
