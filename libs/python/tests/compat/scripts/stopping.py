"""Cancels runs that match a filter, from another process (thread S3)."""

import asyncio
import sys

from background import waits
from prefect import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import CancelledRun
from prefect.flow_runs import wait_for_flow_run
from prefect.states import Cancelling


async def main(ids: list[str]) -> None:
    running = FlowRunFilter(
        id=FlowRunFilterId(any_=ids), state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
    )
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["waits"])),
            flow_run_filter=running,
            sort=FlowRunSort.START_TIME_ASC,
            limit=10,
        )
        print(sorted(str(run.id) for run in runs) == sorted(ids), {run.state_type.value for run in runs})
        await client.cancel_flow_run(runs[0].id)
        result = await client.set_flow_run_state(runs[1].id, state=Cancelling(message="no need"))
        print(result.status)
        for run in runs:
            ended = await wait_for_flow_run(run.id, timeout=60)
            try:
                await ended.state.result()
            except CancelledRun:
                print(ended.state.name)
        print(len(await client.read_flow_runs(flow_run_filter=running)))


if __name__ == "__main__":
    if sys.argv[1] == "start":
        print(*(waits.delay(marker).flow_run_id for marker in sys.argv[2:]))
    else:
        asyncio.run(main(sys.argv[2:]))
