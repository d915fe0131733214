"""A parent with children that a hook cancels, and who never run on without it (thread S3)."""

import time
from pathlib import Path

from prefect import get_client, get_run_logger
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.flows import flow, serve
from prefect.states import Cancelling


def cancel_children(flow, flow_run, state) -> None:
    with get_client(sync_client=True) as client:
        children = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]))
        )
        for child in children:
            if not child.state.is_final():
                client.set_flow_run_state(child.id, state=Cancelling())
    get_run_logger().info("looked after %d children", len(children))


@flow
def child(folder: str, n: int) -> None:
    (Path(folder) / str(n)).touch()
    while True:
        time.sleep(0.05)


@flow(on_cancellation=[cancel_children])
def parent(folder: str) -> None:
    futures = [child.submit(folder, n) for n in range(2)] + [child.delay(folder, n) for n in (2, 3)]
    for future in futures:
        future.wait()


if __name__ == "__main__":
    serve(parent, child)
