"""A flow that is served with a schedule: `python scheduled.py queue path`."""

from __future__ import annotations

import sys
from typing import Any

from tidegate import Interval, flow
from tidegate.runtime import flow_run


@flow(name="scheduled-jot", execution="thread")
def jot(path: str, name: str) -> list[Any]:
    """Appends a name to a file, and tells by which schedule and for which time it is executed."""
    with open(path, "a") as file:
        file.write(f"{name}\n")
    time = flow_run.scheduled_start_time
    return [flow_run.schedule, time.timestamp() if time is not None else None]


if __name__ == "__main__":
    queue, path = sys.argv[1:3]
    jot.with_options(queue=queue).serve(
        queue,
        queues=(queue,),
        parameters={"path": path},
        schedules=[Interval(1, parameters={"name": "ada"}, tags=["by-the-clock"], overlap="skip")],
    )
