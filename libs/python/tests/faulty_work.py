"""What the workers of `test_faults.py` serve: `python faulty_work.py QUEUE`."""

import asyncio
import gc
import os
import sys
import threading
import time
import weakref

import tidegate._process
from pydantic import BaseModel, field_validator

from process_work import note
from tidegate import flow, pause, serve, task

# A process that executes runs has to wait here, where it is told to, as one does that imports much.
while tidegate._process.is_importing and os.path.exists(os.environ.get("GATE", "")):
    time.sleep(0.02)
if tidegate._process.is_importing and "PASSED" in os.environ:
    note(os.environ["PASSED"], os.getpid())


class Picky(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def check(cls, n: int) -> int:
        raise KeyError("no such price list")  # which pydantic does not make an error of its own


@task
def checks(it: Picky) -> None: ...


@task
async def checks_async(it: Picky) -> None: ...


@task(execution="process")
def checks_in_process(it: Picky) -> None: ...


class Mute(Exception):
    def __str__(self) -> str:
        return self.text  # type: ignore[attr-defined, no-any-return]


@task
def raises_mute() -> None:
    raise Mute


@task
async def raises_mute_async() -> None:
    raise Mute


@flow
def raises_mute_in_process() -> None:
    raise Mute


@task
def works() -> None: ...


@task
async def works_async() -> None: ...


@flow(max_crashes=0)
def is_fresh() -> int:
    return os.getpid()


open_files: list[int] = []


@task
def opens_files() -> None:
    """All that this process may."""
    try:
        while True:
            open_files.append(os.dup(0))
    except OSError:
        pass


@task
def closes_files() -> None:
    while open_files:
        os.close(open_files.pop())


@flow(timeout_seconds=1)
def takes(data: bytes) -> None: ...


@flow
def pauses_wrongly() -> None:
    pause("approval", timeout=-1)


def call_back(parameters: dict) -> None:
    """Takes its time."""
    note(parameters["path"], "begins")
    while not os.path.exists(f"{parameters['path']}.go"):
        time.sleep(0.02)
    time.sleep(1)
    note(parameters["path"], "ends")


@flow(on_completion=call_back)
def calls_back(path: str) -> None: ...


@task(on_completion=call_back)
def calls_back_in_thread(path: str) -> None: ...


class Large:
    """As an argument that takes much memory."""

    def __init__(self) -> None:
        held.append(weakref.ref(self))

    def __reduce__(self) -> tuple:
        return Large, ()


held: list[weakref.ref] = []


@task
def uses(large: Large) -> None: ...


@task
async def uses_async(large: Large) -> None: ...


@task
def fails_with(large: Large) -> None:
    raise ValueError("no")


@task
def n_held() -> int:
    """How many of the arguments are still in memory. From now on, nothing goes that is held by a cycle."""
    gc.disable()
    return sum(large() is not None for large in held)


@task(cancel_grace_seconds=1)
def does_not_hear() -> None:
    """A call that nothing interrupts."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def note_failure(parameters: dict) -> None:
    note(parameters["path"], "failed")


@task(on_failure=note_failure)
async def raises_cancelled(path: str) -> None:
    raise asyncio.CancelledError


@flow
def notes(path: str) -> None:
    note(path, "executed")


def break_worker() -> None:
    """Has the worker itself fail at every run."""
    from tidegate import _attempt
    from tidegate._process import attempt

    def facts_of(*_: object) -> None:
        raise LookupError("a fault of the worker")

    _attempt.facts_of = attempt.facts_of = facts_of


if __name__ == "__main__":
    if sys.argv[2:] == ["broken"]:
        break_worker()
    serve(
        checks, checks_async, checks_in_process, raises_mute, raises_mute_async, raises_mute_in_process,
        works, works_async, is_fresh, opens_files, closes_files, takes, pauses_wrongly, notes,
        uses, uses_async, fails_with, n_held, does_not_hear, raises_cancelled,
        calls_back, calls_back_in_thread,
        queues=[sys.argv[1]],
        limit=int(os.environ.get("LIMIT", 10)),
    )
