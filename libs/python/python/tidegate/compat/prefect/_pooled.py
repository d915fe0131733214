"""Deployments of a work pool, whose workers start a process for each run, with the code as this program has it."""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any

from ..._deploying import entrypoint_of
from ...deployments import ImageSource, PathSource
from . import _objects
from ._calls import dual
from ._functions import Flow
from ._serving import RunnerDeployment, deployment_of

#: Has the process of a run import `prefect` from here; see :mod:`tidegate.execute`.
_ENV = {"TIDEGATE_COMPAT": "prefect"}


def deploy(flow: Flow, name: str, options: dict[str, Any]) -> Any:
    """Makes the deployment `name` of a work pool; its id. In async code an awaitable of that."""
    pool = options.pop("work_pool_name", None) or os.environ.get("PREFECT_DEFAULT_WORK_POOL_NAME")
    if not pool:
        raise ValueError(
            f"the deployment {name!r} needs a work pool: name one by work_pool_name=, as `tidegate pool create` has made it; or "
            "serve the flow without one: flow.serve(name)"
        )
    image, build = options.pop("image", None), options.pop("build", True)
    options.pop("push", None)
    if image and build is not False:
        raise NotImplementedError(
            f"deploy(image={image!r}): Tidegate builds and pushes no images; do that before, and say build=False"
        )
    variables = {**(options.pop("job_variables", None) or {})}
    variables["env"] = {**_ENV, **(variables.get("env") or {})}
    folder, place = _code(flow)
    if image:
        source: Any = ImageSource(str(image))
    else:
        source = PathSource(folder)
        variables.setdefault("python", sys.executable)  # which has what the code imports
    pooled = {"work_pool": pool, "source": source, "entrypoint": place, "job_variables": variables}
    deployment = deployment_of(flow, name, options)
    return _applied(deployment, pooled)


@dual
def _applied(deployment: RunnerDeployment, pooled: dict[str, Any]) -> uuid.UUID:
    deployment.apply(**pooled)
    return _objects.id_of("deployment", deployment.full_name)


def _code(flow: Flow) -> tuple[str, str]:
    """The directory of a flow's code, and its entrypoint from there."""
    module, name = flow.fn.__module__, flow.fn.__qualname__
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is None:
        return os.getcwd(), entrypoint_of(flow)
    folder = os.path.dirname(os.path.abspath(path))
    if module == "__main__":
        return folder, f"{os.path.basename(path)}:{name}"
    n_above = module.count(".") + (os.path.basename(path) == "__init__.py")
    for _ in range(n_above):
        folder = os.path.dirname(folder)
    return folder, f"{module}:{name}"
