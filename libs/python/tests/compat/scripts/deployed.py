"""A deployment and its worker (threads S0, S1, S2)."""

from pathlib import Path

from prefect import flow, get_run_logger, serve, suspend_flow_run
from prefect.runtime import deployment
from prefect.states import Completed, Failed


@flow(log_prints=True)
def process_item(folder: str, item: int, factor: int = 1) -> int:
    with open(Path(folder) / "executed", "a") as file:
        file.write(f"{item}\n")
    get_run_logger().info("item %d of %s", item, deployment.name)
    return item * factor


@flow
def counts(n: int):
    return Completed(message=f"{n} items are new") if n else Failed(message="there is nothing new")


@flow(version="7")
def knows(n: int) -> list:
    return [deployment.id, deployment.name, deployment.parameters, deployment.version, deployment.flow_run_id]


@flow
def suspends(folder: str) -> int:
    """Begins anew when it is resumed."""
    with open(Path(folder) / "begun", "a") as file:
        file.write("x")
    return suspend_flow_run(wait_for_input=int, timeout=120)


@flow
def never(folder: str) -> None:
    while not (Path(folder) / "end").exists():
        pass


if __name__ == "__main__":
    serve(
        process_item.to_deployment(name="prod", parameters={"factor": 10}, tags=["prod"]),
        never.to_deployment("prod"),
        counts.to_deployment("prod"),
        knows.to_deployment("prod", parameters={"n": 1}),
        suspends.to_deployment("prod"),
        limit=10,
    )
