"""Finds runs by what is known of them (threads S3, S4)."""

import sys
from datetime import datetime, timedelta, timezone

from prefect import flow, get_client, tags, task
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.sorting import FlowRunSort


@task
def step() -> None:
    pass


@flow(flow_run_name="marked-{n}")
def marked(n: int) -> int:
    step()
    if n == 2:
        raise ValueError("two")
    return n


@flow
def marking(job: str) -> None:
    with tags(f"job:{job}"):
        for n in range(4):
            with tags("even" if n % 2 == 0 else "odd"):
                marked(n, return_state=True)


def names(**filters) -> list[str]:
    with get_client(sync_client=True) as client:
        return [run.name for run in client.read_flow_runs(sort=FlowRunSort.NAME_ASC, **filters)]


if __name__ == "__main__":
    job = f"job:{sys.argv[1]}"
    parent = marking(sys.argv[1], return_state=True).state_details.flow_run_id
    of_job = FlowRunFilterTags(all_=[job])
    print(names(flow_run_filter=FlowRunFilter(tags=of_job)))
    print(names(flow_run_filter=FlowRunFilter(tags={"all_": [job, "odd"]}), flow_filter=FlowFilter(name={"any_": ["marked"]})))
    print(names(flow_run_filter=FlowRunFilter(tags=of_job, name=FlowRunFilterName(like_="ed-1"))))
    failed = FlowRunFilterState(name=FlowRunFilterStateName(any_=["Failed"]))
    print(names(flow_run_filter=FlowRunFilter(tags=of_job, state=failed)))
    print(names(flow_run_filter=FlowRunFilter(tags=of_job, state={"type": {"not_any_": ["FAILED"]}}), limit=2, offset=1))
    children = FlowRunFilterParentFlowRunId(any_=[parent])
    an_hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    started = FlowRunFilterStartTime(after_=an_hour_ago, is_null_=False)
    print(names(flow_run_filter=FlowRunFilter(parent_flow_run_id=children, start_time=started)))
    either = FlowRunFilter(operator="or_", name={"any_": ["marked-0"]}, state=failed)
    print(names(flow_run_filter=either, flow_filter=FlowFilter(name={"any_": ["marked"]}))[:1])
    with get_client(sync_client=True) as client:
        print(client.count_flow_runs(flow_run_filter=FlowRunFilter(tags=of_job)))
        (first, *_) = client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=of_job), sort="START_TIME_ASC")
        steps = client.read_task_runs(task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[first.id])))
        print(first.name, first.parameters, [run.task_key for run in steps], first.flow_id == client.read_flow_by_name("marked").id)
        print(names(flow_filter=FlowFilter(id={"any_": [first.flow_id]}), flow_run_filter=FlowRunFilter(tags=of_job), limit=1))
        print(names(flow_run_filter=FlowRunFilter(id={"any_": []})))
        for wrong in (lambda: FlowRunFilter(idempotency_key={"any_": ["a"]}), lambda: client.delete_flow_run(first.id)):
            try:
                wrong()
            except (TypeError, AttributeError) as error:
                print(error)
