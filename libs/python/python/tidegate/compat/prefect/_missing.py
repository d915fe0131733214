"""What is not there, and what to use instead."""

from __future__ import annotations

_SERVE = "a worker is a program that calls `serve`"
#: By the full name; what is below it is meant too.
_INSTEAD = {
    "prefect.Flow.from_source": "install the code where it is served, and import the flow",
    "prefect.Flow.visualize": "look at a run of it: `tidegate run tree`",
    "prefect.agent": _SERVE,
    "prefect.assets": "say what was made in an artifact (`prefect.artifacts`)",
    "prefect.automations": "use `tidegate.automations`, or hooks, such as `on_failure`",
    "prefect.blocks": "read secrets and settings from the environment, and other values from `prefect.variables`",
    "prefect.cli": "use the command `tidegate`",
    "prefect.client.schemas.actions": "use the methods of the client, or `flow.to_deployment`",
    "prefect.deploy": "deploy one flow after the other: `flow.deploy(name, work_pool_name=...)`",
    "prefect.deployments.deploy": "deploy one flow after the other: `flow.deploy(name, work_pool_name=...)`",
    "prefect.deployments.runner.deploy": "deploy one flow after the other: `flow.deploy(name, work_pool_name=...)`",
    "prefect.docker": "build the image that calls `serve` yourself",
    "prefect.events": "only `emit_event` is, which writes to the run's log; use hooks, such as `on_failure`",
    "prefect.filesystems": "results are kept by the server, for every process to read; no storage is needed",
    "prefect.flow_engine": "call the flow",
    "prefect.flows.load_flow_from_entrypoint": "import the flow",
    "prefect.input": "have the run wait by `pause_flow_run(wait_for_input=...)`",
    "prefect.plugins": "import what the program needs",
    "prefect.results": "results are kept by the server; read them by the state, or by the id of the run",
    "prefect.runner.Runner": _SERVE,
    "prefect.runner.storage": "install the code where it is served",
    "prefect.server": "start the server with `tidegate dev`",
    "prefect.settings": "settings are read from the environment: TIDEGATE_ADDRESS, TIDEGATE_NAMESPACE",
    "prefect.task_engine": "call the task",
    "prefect.task_worker.TaskWorker": "call `prefect.task_worker.serve`",
    "prefect.testing": "use `tidegate.testing`",
    "prefect.transactions.IsolationLevel": "transactions of a process see nothing of others; take a slot by `concurrency`",
    "prefect.workers": _SERVE,
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
