"""What functions of options, hooks and the client are asked and told."""

import threading
from datetime import timedelta

from prefect import flow, get_client, pause_flow_run, resume_flow_run, task
from prefect.cache_policies import INPUTS
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import TaskRunContext, get_run_context
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled
from prefect.tasks import task_input_hash

calls: list[str] = []


def cache_within_flow_run(context: TaskRunContext, parameters: dict) -> str:
    return f"{context.task.name}-{context.task_run.flow_run_id}-{parameters['unit']}-{task_input_hash(context, parameters)}"


@task(cache_key_fn=cache_within_flow_run)
def measure(n: int, unit: str = "m") -> str:
    calls.append("measure")
    return f"{n} {unit}"


@task(cache_policy=INPUTS, cache_expiration=timedelta(minutes=1))
def convert(n: int) -> int:
    return n


def is_transient(task, task_run, state) -> bool:
    print("asked by", task.name)
    return False


@task(retries=1, retry_condition_fn=is_transient)
def fragile() -> int:
    if get_run_context().task_run.run_count == 1:
        raise ValueError("first")
    return 0


def told(flow, flow_run, state) -> None:
    print("told of", flow_run.parameters)


@flow(on_completion=[told])
def measures(n: int, times: int = 2) -> None:
    states = [measure(n, return_state=True) for _ in range(times)]
    print([state.name for state in states], measure.submit(n, return_state=True).name, states[1].result(), len(calls))
    other = fragile.with_options(name="other")
    print(fragile(return_state=True).name, other(return_state=True).name)


@flow
def counts() -> int:
    return pause_flow_run(wait_for_input=int, timeout=120) + 1


def answer() -> None:
    with get_client(sync_client=True) as client:
        while True:
            paused = FlowRunFilter(state={"type": {"any_": ["PAUSED"]}}, name={"any_": ["how-many"]})
            for run in client.read_flow_runs(flow_run_filter=paused):
                resume_flow_run(run.id, run_input={"value": 5})
                return


if __name__ == "__main__":
    run_id = measures(7, return_state=True).state_details.flow_run_id
    measures(7)
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
        print(sorted(run.task_key for run in runs))
        print(client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[]))))
        measures.to_deployment("daily", parameters={"n": 3}, tags=["lab"]).apply()
        deployment = client.read_deployment_by_name("measures/daily")
        print(deployment.name, deployment.parameters, deployment.tags, client.read_deployment(deployment.id).flow_name)
        started = client.create_flow_run_from_deployment(deployment.id)
        print(started.deployment_id == deployment.id, started.parameters)
        try:
            client.read_deployment_by_name("measures/dayly")
        except ObjectNotFound as error:
            print(error)
        print(client.read_flow_run(run_id).parameters)
        refused = client.set_flow_run_state(run_id, Cancelled())
        print(refused.status, refused.state.name, refused.details.reason)
    thread = threading.Thread(target=answer)
    thread.start()
    print(counts.with_options(flow_run_name="how-many")())
    thread.join()
    print(measure.cache_key_fn.__name__, convert.cache_expiration, convert.cache_policy is INPUTS, fragile.retry_condition_fn.__name__)
