"""What the workers of the tests of deployments serve: `python deployed.py [queue]`."""

from __future__ import annotations

import os
import sys
import time
from typing import Optional

from tidegate import current_run, flow, serve
from tidegate.deployments import DeploymentCall, run_deployment, run_deployments


@flow(name="deployed-jot")
def jot(path: str, name: str, repeat: int = 1) -> str:
    """Appends a name to a file."""
    with open(path, "a") as file:
        file.write(f"{name}\n" * repeat)
    return name


@flow(name="deployed-raises")
def raises(text: str) -> None:
    raise ValueError(text)


@flow(name="deployed-holds")
def holds() -> None:
    time.sleep(600)


@flow(name="deployed-fan-out", execution="thread")
def fan_out(path: str, marker: str, deployment: str, n: int) -> list[str]:
    """Starts `n` runs of a deployment, tells `marker` so, and hangs in its first attempt alone."""
    calls = [DeploymentCall(deployment, {"path": path, "name": f"n{i % 150}"}) for i in range(n)]
    handles = run_deployments(calls, timeout=0)
    run = current_run()
    assert run is not None
    with open(marker, "a") as file:
        file.write(f"{os.getpid()}\n")
    if run.attempt == 1:
        time.sleep(600)
    return [handle.result() for handle in handles]


@flow(name="deployed-one-by-one", execution="thread")
def one_by_one(path: str, marker: str, deployment: str, n: int, n_first: int) -> list[str]:
    """Starts `n` runs of a deployment, a call for each. Its first attempt hangs after `n_first`, and tells `marker` so."""
    run = current_run()
    assert run is not None
    handles = []
    for i in range(n):
        if run.attempt == 1 and i == n_first:
            with open(marker, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(600)
        handles.append(run_deployment(deployment, {"path": path, "name": f"n{i % 150}"}, timeout=0))
    return [handle.result() for handle in handles]


def main(queue: Optional[str]) -> None:
    queues = ("default",) if queue is None else (queue,)
    serve(jot, raises, holds, fan_out, one_by_one, queues=queues, flow_limit=40)


if __name__ == "__main__":
    if sys.argv[2:]:
        jot.with_options(queue=sys.argv[1], execution="thread").serve(name=sys.argv[2], queues=(sys.argv[1],))
    else:
        main(sys.argv[1] if sys.argv[1:] else None)
