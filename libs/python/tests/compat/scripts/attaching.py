"""Finds runs again by their ids, from a process that has not started them (threads S2, S4)."""

import asyncio
import sys
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import wait_for_flow_run
from prefect.futures import PrefectDistributedFuture
from prefect.states import get_state_result


async def main(task_run_id: str, flow_run_ids: list[str]) -> None:
    async with get_client() as client:
        task_run = await client.read_task_run(UUID(task_run_id))
        print("task", task_run.state.name, await task_run.state.result())
        print("future", await PrefectDistributedFuture(task_run_id=UUID(task_run_id)).result_async())
        ended = await asyncio.gather(*(wait_for_flow_run(run_id) for run_id in flow_run_ids))
        for run in ended:
            print("flow", run.state.is_completed(), run.parameters, await get_state_result(run.state))
        logs = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[ended[0].id])))
        print("logs", [line.message for line in logs])
        try:
            await wait_for_flow_run(ended[0].flow_id)
        except ObjectNotFound:
            print("a flow's id is no run's")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
    run = wait_for_flow_run(sys.argv[2])
    print("sync", get_state_result(run.state)["title"], run.end_time >= run.start_time >= run.created)
