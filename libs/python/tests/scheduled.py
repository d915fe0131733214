"""A flow that is served with a schedule: `python scheduled.py queue path`."""

from __future__ import annotations

import sys

from tidegate import Interval, flow


@flow(name="scheduled-jot", execution="thread")
def jot(path: str, name: str) -> str:
    """Appends a name to a file."""
    with open(path, "a") as file:
        file.write(f"{name}\n")
    return name


if __name__ == "__main__":
    queue, path = sys.argv[1:3]
    jot.with_options(queue=queue).serve(
        queue,
        queues=(queue,),
        parameters={"path": path},
        schedules=[Interval(1, parameters={"name": "ada"}, tags=["by-the-clock"], overlap="skip")],
    )
