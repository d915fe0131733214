"""Programs that fork: `python fork_work.py NAME [ARGUMENT]` prints what it finds, as JSON."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
from collections import Counter
from typing import Any

from tidegate import TidegateError, concurrency, current_run, flow, get_run, get_run_logger, task
from tidegate._connection import block, client
from tidegate.testing import worker


@task
def double(n: int) -> int:
    get_run_logger().info("doubling %d", n)
    return 2 * n


@task
def busy(gate: Any) -> None:
    """Keeps the session at work while its process is forked."""
    gate.wait()


class Gate:
    """An event that is no JSON, and travels to no other process."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self) -> None:
        self._event.wait()

    def open(self) -> None:
        self._event.set()


def runs(filter: str) -> list[Any]:
    return list(block(client().list_runs(filter, 1000, ""))[0])


def doubles() -> dict[str, int]:
    return dict(Counter(run.state[0] for run in runs('name = "double"')))


def logs_of_doubles() -> list[str]:
    return sorted(line for run in runs('name = "double"') for line in get_run(run.id).logs())


@flow
def pooled(method: str) -> tuple[str, list[int]]:
    gate = Gate()
    future = busy.submit(gate)
    with multiprocessing.get_context(method).Pool(2) as pool:
        values = pool.map(double, [0, 1, 1, 3])
    gate.open()
    future.result()
    run = current_run()
    assert run is not None
    return run.run_id, values


def pool(method: str) -> Any:
    double(100)  # the session is open before
    flow_id, values = pooled(method)
    return {
        "values": values,
        "state": get_run(flow_id).state.type,
        "below": [run.name for run in runs(f'parent_run_id = "{flow_id}"')],
        "doubles": doubles(),
        "logs": [line for line in logs_of_doubles() if line != "doubling 100"],
    }


@flow
def one_process() -> str:
    process = multiprocessing.get_context("fork").Process(target=double, args=(21,))
    process.start()
    process.join()
    run = current_run()
    assert process.exitcode == 0 and run is not None
    return run.run_id


def process() -> Any:
    state = get_run(one_process()).state.type
    return {"state": state, "doubles": doubles(), "logs": logs_of_doubles()}


def preforked() -> Any:
    double(0)
    with worker(double):
        handle = double.delay(4)
        waiting = threading.Thread(target=handle.result)
        waiting.start()
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                try:
                    assert [double(n) for n in range(9)] == [2 * n for n in range(9)]
                finally:
                    sys.exit(0 if sys.exc_info()[0] is None else 1)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        double(1)
        double(2)
        waiting.join()
        return {"codes": codes, "doubles": doubles(), "value": handle.result()}


def what_a_child_says(call: Any) -> tuple[Any, str]:
    """What `call` gives in this process, and what it raises in the child that it forks."""
    reader, writer = os.pipe()
    master = os.getpid()
    try:
        value = call()
    except BaseException as error:
        if os.getpid() == master:
            raise
        os.write(writer, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    if os.getpid() != master:
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    os.wait()
    return value, text


@flow
def forks() -> str:
    gate = Gate()
    busy.submit(gate)
    if not os.fork():
        return "the child"
    gate.open()
    run = current_run()
    assert run is not None
    return run.run_id


def runaway() -> Any:
    flow_id, said = what_a_child_says(forks)
    return {"parent": get_run(flow_id).state.type, "child": said}


@flow
def asks_in_a_child() -> str:
    gate = Gate()
    future = busy.submit(gate)
    reader, writer = os.pipe()
    if not os.fork():
        try:
            future.result()
        except TidegateError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    gate.open()
    os.close(writer)
    with os.fdopen(reader) as said:
        return said.read()


def future() -> Any:
    said = asks_in_a_child()
    os.wait()
    return said


def slots() -> Any:
    with concurrency("db") as held:
        child = os.fork()
        master = bool(child)
    if not master:
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"child": code, "held": not held.lost}


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(json.dumps(globals()[name](*arguments)))
