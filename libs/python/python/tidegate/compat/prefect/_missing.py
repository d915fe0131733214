"""What is not there, and what to use instead."""

from __future__ import annotations

#: By the full name; what is below it is meant too.
_INSTEAD = {
    "prefect.agent": "a worker is a program that calls `serve`",
    "prefect.assets": "say what was made in an artifact (`prefect.artifacts`)",
    "prefect.automations": "use hooks, such as `on_failure`",
    "prefect.blocks": "read secrets and settings from the environment, and other values from `prefect.variables`",
    "prefect.cli": "use the command `tidegate`",
    "prefect.filesystems": "results are kept by the server, for every process to read; no storage is needed",
    "prefect.server": "start the server with `tidegate dev`",
    "prefect.settings": "settings are read from the environment: TIDEGATE_ADDRESS, TIDEGATE_NAMESPACE",
    "prefect.workers": "a worker is a program that calls `serve`",
    "prefect.flows.load_flow_from_entrypoint": "import the flow",
    "prefect.runner.storage": "install the code where it is served",
}


def explain(fullname: str) -> str:
    """What to say of a name that is not there."""
    said = f"`{fullname}` is not there in Tidegate's stand-in for Prefect"
    name = fullname
    while name:
        if name in _INSTEAD:
            return f"{said}: {_INSTEAD[name]}"
        name = name.rpartition(".")[0]
    return f"{said}; tidegate/compat/prefect/README.md lists the names that are"
