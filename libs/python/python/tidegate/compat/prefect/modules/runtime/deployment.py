"""`prefect.runtime.deployment`: each name is looked up when it is asked for."""

from typing import Any

from ..._runtime import of_deployment

flow_run_id: Any
id: Any
name: Any
parameters: Any
version: Any

__all__ = ["flow_run_id", "id", "name", "parameters", "version"]


def __getattr__(name: str) -> Any:
    known = name.removeprefix("get_")
    if known not in __all__:
        raise AttributeError(name)
    return of_deployment(known) if known == name else lambda: of_deployment(known)
