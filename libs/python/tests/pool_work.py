"""Flows that a worker of a work pool executes, each in a process that the worker starts for it."""

from __future__ import annotations

import os
import signal
import time

from tidegate import current_run, flow, task
from tidegate.deployments import DeploymentCall, run_deployments


@task
def double(n: int) -> int:
    return 2 * n


@flow(name="pool-adds", log_prints=True)
def adds(a: int, b: int) -> int:
    """Has a child, and prints."""
    print(f"adding {a}")
    return double.submit(a).result() + b


@flow(name="pool-awaits")
async def awaits(text: str) -> str:
    return text.upper()


@flow(name="pool-holds", cancel_grace_seconds=5)
def holds(path: str) -> int:
    """Tells the how-manieth time it is here, and its process; hangs the first time alone.

    It counts by a file: a start that was not reported yet when its process was killed is no attempt to the server.
    """
    run = current_run()
    assert run is not None
    with open(f"{path}.{run.run_id}", "a+") as times:
        times.write("once\n")
        times.seek(0)
        n = len(times.readlines())
    with open(path, "a") as file:
        file.write(f"{n} {os.getpid()}\n")
    if n == 1:
        time.sleep(600)
    return n


@flow(name="pool-raises")
def raises(text: str) -> None:
    raise ValueError(text)


@flow(name="pool-dies")
def dies() -> None:
    os._exit(5)


@flow(name="pool-fans-out", cancel_grace_seconds=5)
def fans_out(path: str, deployments: list[str]) -> None:
    """Waits for a run of each deployment."""
    run_deployments([DeploymentCall(deployment, {"path": path}) for deployment in deployments])


@flow(name="pool-is-deaf", cancel_grace_seconds=5)
def is_deaf(path: str) -> None:
    """Ends by SIGKILL alone."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(path, "a") as file:
        file.write(f"1 {os.getpid()}\n")
    while True:
        try:
            time.sleep(600)
        except BaseException:  # whatever interrupts it
            pass
