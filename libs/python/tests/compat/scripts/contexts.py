"""What code can ask of its run."""

from prefect import flow, tags, task
from prefect.context import FlowRunContext, TaskRunContext, get_run_context
from prefect.exceptions import MissingContextError
from prefect.runtime import flow_run, task_run
import prefect.runtime


@task(task_run_name="look at {n}", tags=["blue"])
def look(n: int) -> dict:
    assert TaskRunContext.get().task_run.flow_run_id == FlowRunContext.get().flow_run.id
    assert prefect.runtime.flow_run.id == prefect.runtime.flow_run.get_id()
    return {"name": task_run.name, "tags": sorted(task_run.tags), "parameters": task_run.parameters, "count": task_run.run_count}


def name_of_inner() -> str:
    return f"{flow_run.flow_name} with {flow_run.parameters['n']}"


@flow(version="7", retries=1, flow_run_name=name_of_inner)
def inner(n: int) -> tuple:
    """The inner flow."""
    if flow_run.run_count == 1:
        raise ValueError("not yet")
    print(flow_run.name, flow_run.tags)
    return flow_run.parent_flow_run_id, flow_run.root_flow_run_id, flow_run.flow_version


@flow(description="The outer flow")
def outer(n: int = 3):
    context = get_run_context()
    print(context.flow.name, context.flow.description, context.parameters, context.flow_run.state.is_running())
    with tags("green", "red"):
        print(look(n), look.submit(n + 1).result()["name"])
    print(inner(n) == (flow_run.id, flow_run.id, "7"), inner.description)


if __name__ == "__main__":
    try:
        get_run_context()
    except MissingContextError:
        print("no run", flow_run.id, flow_run.parameters, task_run.tags)
    outer(3)
