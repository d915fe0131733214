"""Runs of deployments from runs: loops that are retried, gathers, timeouts (threads S0, S1, S2)."""

import asyncio
import sys
from pathlib import Path

from prefect import flow, get_client, resume_flow_run, task
from prefect.deployments import run_deployment
from prefect.flow_runs import wait_for_flow_run
from prefect.states import get_state_result


@flow(retries=1)
def loop(folder: str) -> list[int]:
    """Its second attempt makes the same calls as the first."""
    runs = [run_deployment("process-item/prod", parameters={"folder": folder, "item": n}, timeout=0) for n in range(5)]
    results = [wait_for_flow_run(run.id).state.result() for run in runs]
    path = Path(folder) / "attempts"
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    if path.read_text() == "x":
        raise RuntimeError("after all children")
    return results


@task(retries=1)
def one(folder: str, item: int) -> int:
    run = run_deployment(
        name="process-item/prod",
        parameters={"folder": folder, "item": item},
        flow_run_name=f"item-{item}",
        tags=["extra"],
        as_subflow=True,
    )
    once = Path(folder) / f"once-{item}"
    if not once.exists():
        once.touch()
        raise RuntimeError("after its child")
    return get_state_result(run.state)


@flow
def through_tasks(folder: str) -> list[int]:
    return [future.result() for future in [one.submit(folder, n) for n in (10, 11)]]


@flow
async def gathered(folder: str) -> list[int]:
    calls = [run_deployment("process-item/prod", parameters={"folder": folder, "item": n}) for n in (20, 21)]
    return [await run.state.result() for run in await asyncio.gather(*calls)]


if __name__ == "__main__":
    folder = sys.argv[1]
    print(loop(folder))
    print(through_tasks(folder))
    print(asyncio.run(gathered(folder)))
    pending = run_deployment("never/prod", parameters={"folder": folder}, timeout=0.1)
    print(pending.state.is_final())
    (Path(folder) / "end").touch()
    keys = [
        run_deployment(
            "process-item/prod", parameters={"folder": folder, "item": 30}, idempotency_key=f"30 {folder}", as_subflow=False
        )
        for _ in range(2)
    ]
    print(keys[0].id == keys[1].id, keys[0].deployment_id == keys[1].deployment_id is not None)
    try:
        run_deployment("process-item/nothing")
    except Exception as error:
        print(type(error).__name__, "process-item/prod" in str(error))
    print(wait_for_flow_run(pending.id).state.name)
    for n in (3, 0):
        state = run_deployment("counts/prod", parameters={"n": n}).state
        print(state.name, state.message)
    try:
        run_deployment("process-item/prod", parameters={"folder": folder, "item": 31}, idempotency_key=f"30 {folder}")
    except Exception as error:
        print(type(error).__name__, "with other parameters" in str(error))
    run = run_deployment("knows/prod")
    print(run.state.result() == [str(run.deployment_id), "prod", {"n": 1}, "7", str(run.id)])
    run = run_deployment("suspends/prod", parameters={"folder": folder}, timeout=0)
    with get_client(sync_client=True) as client:
        while client.read_flow_run(run.id).state.name != "Suspended":
            pass
    resume_flow_run(run.id, run_input={"value": 5})
    print(wait_for_flow_run(run.id).state.result(), (Path(folder) / "begun").read_text())
