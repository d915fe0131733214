"""What the workers of the authoring tests serve: `python work_authoring.py [queue]`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from tidegate import flow, get_run_logger, pause_run, runtime, serve, suspend_run, task, wait_for_input

current_queue = sys.argv[1] if len(sys.argv) > 1 else "default"


class Color(Enum):
    RED = "red"


class Item(BaseModel):
    name: str
    price: float


@dataclass
class Order:
    items: list[Item]
    due: date


@task
def describe(
    order: Order, at: datetime, color: Color, key: UUID, path: Path, *sizes: tuple[int, int], **counts: set[int]
) -> list[Any]:
    """What it is called with, by the types that it finds."""
    values = [order, order.items[0], at, color, key, path, sizes[0], counts["some"]]
    return [f"{type(value).__name__} {value}" for value in values]


@task
def add_exactly(a: int, b: int = 1) -> str:
    return f"{a!r} {b!r}"


@flow
def takes_number(n: int) -> None: ...


@task(retries=3)
def gives_lock() -> Any:
    return threading.Lock()


class Greeter:
    """Its instances travel."""

    def __init__(self, word: str) -> None:
        self.word = word

    @task
    def greet(self, name: str) -> str:
        return f"{self.word}, {name}"

    @flow
    def greet_all(self, names: list[str]) -> list[str]:
        return self.greet.map(names).result()

    @task
    @classmethod
    def kind_of(cls, n: int) -> str:
        return f"{cls.__name__} {n}"

    @task
    @staticmethod
    def plain(n: int) -> int:
        return n + 1


class Locked:
    """Its instances do not."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    @task
    def add(self, n: int) -> int:
        return n


def note(run: Any, state: Any, result: Any, exception: Any, parameters: Any) -> None:
    """A hook that writes down what it gets."""
    get_run_logger().info("noted %s", state.type)
    shown = f"{type(exception).__name__}: {exception}" if exception is not None else None
    line = {
        "state": state.type, "pid": os.getpid(), "result": result, "exception": shown, "run": run.id,
        "parameters": parameters,
    }
    with open(parameters["path"], "a") as file:
        file.write(json.dumps(line) + "\n")


HOOKS: dict[str, Any] = {
    "on_running": note,
    "on_completion": note,
    "on_failure": [note],
    "on_crashed": note,
    "on_cancellation": note,
    "retries": 5,
    "retry_condition_fn": lambda task, run, state: run.attempt < 2,
}


def hooked(how: str) -> int:
    if how == "raise":
        raise ValueError("raise")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    while how == "hang":
        time.sleep(0.01)
    while how == "deaf":
        try:
            time.sleep(3600)
        except BaseException:  # whatever interrupts it
            pass
    return os.getpid()


@flow(**HOOKS)
def hooked_flow(path: str, how: str) -> int:
    return hooked(how)


@task(**HOOKS)
def hooked_task(path: str, how: str) -> int:
    return hooked(how)


@task(**HOOKS)
async def hooked_async_task(path: str, how: str) -> int:
    while how == "hang":
        await asyncio.sleep(0.01)
    return hooked(how)


class Approval(BaseModel):
    approved: bool
    amount: int


@task
def asks(path: str) -> str:
    with open(path, "a") as file:
        file.write("asked\n")
    answer = wait_for_input("approve", Approval, request="may I?", suspend=True)
    return f"{type(answer).__name__} {answer}"


@flow
async def asks_async() -> str:
    answer = await wait_for_input("approve", Approval)
    number = await pause_run(key="number", type=int)
    return f"{type(answer).__name__} {answer.amount} {number!r}"


@flow
def suspends_and_fails_once(path: str) -> int:
    """Begins anew when it is resumed, and fails then; a further attempt completes."""
    with open(path, "a") as file:
        file.write("begun\n")
    number: int = suspend_run(key="number", type=int)
    if len(Path(path).read_text().splitlines()) == 2:
        raise ValueError("not yet")
    return number


@task
def deployment_of_task() -> Any:
    return runtime.deployment.name


@flow
def deployment_of_flow() -> list[Any]:
    return [runtime.deployment.name, runtime.deployment.id, deployment_of_task(), deployment_of_task.submit().result()]


if __name__ == "__main__":
    serve(
        describe, add_exactly, Greeter.greet, Greeter.greet_all, Greeter.kind_of, Greeter.plain, asks, asks_async,
        takes_number, gives_lock,
        hooked_flow, hooked_task, hooked_async_task, suspends_and_fails_once, deployment_of_flow,
        queues=[current_queue],
        drain_seconds=5,
    )
