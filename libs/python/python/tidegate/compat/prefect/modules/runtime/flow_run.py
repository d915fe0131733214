"""`prefect.runtime.flow_run`: each name is looked up when it is asked for."""

from typing import Any

from ..._runtime import of_flow_run

api_url: Any
flow_name: Any
flow_version: Any
id: Any
job_variables: Any
name: Any
parameters: Any
parent_deployment_id: Any
parent_flow_run_id: Any
root_flow_run_id: Any
run_count: Any
scheduled_start_time: Any
tags: Any
ui_url: Any

__all__ = [
    "api_url",
    "flow_name",
    "flow_version",
    "id",
    "job_variables",
    "name",
    "parameters",
    "parent_deployment_id",
    "parent_flow_run_id",
    "root_flow_run_id",
    "run_count",
    "scheduled_start_time",
    "tags",
    "ui_url",
]


def __getattr__(name: str) -> Any:
    known = name.removeprefix("get_")
    if known not in __all__:
        raise AttributeError(name)
    return of_flow_run(known) if known == name else lambda: of_flow_run(known)
