"""`prefect.runtime.task_run`: each name is looked up when it is asked for."""

from typing import Any

from ..._runtime import of_task_run

api_url: Any
id: Any
name: Any
parameters: Any
run_count: Any
tags: Any
task_name: Any
ui_url: Any

__all__ = ["api_url", "id", "name", "parameters", "run_count", "tags", "task_name", "ui_url"]


def __getattr__(name: str) -> Any:
    known = name.removeprefix("get_")
    if known not in __all__:
        raise AttributeError(name)
    return of_task_run(known) if known == name else lambda: of_task_run(known)
