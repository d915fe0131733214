"""What the workers of the end-to-end tests serve: `python work.py [queue]`."""

import asyncio
import os
import sys
import threading
import time
from typing import Any

from tidegate import NonRetryable, concurrency, current_run, flow, get_run_logger, pause, serve, suspend, task


@task
def add(a: int, b: int = 1) -> int:
    get_run_logger().info("adding %d and %d", a, b)
    return a + b


@task
async def add_async(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@task
def pid() -> int:
    return os.getpid()


@task(log_prints=True)
def say(text: str) -> None:
    print("said", text)


@task
def opaque(values: set) -> set:
    """Sets are no JSON: they travel as pickles."""
    return values | {"more"}


@task(retries=2, retry_delay_seconds=[0.01, 0.02])
def third_time(path: str) -> int:
    """Raises twice."""
    with open(path, "a+") as file:
        file.write("x")
        file.seek(0)
        n = len(file.read())
    if n < 3:
        raise ValueError(f"attempt {n} fails")
    run = current_run()
    assert run is not None
    return run.attempt


@task(retries=5)
def hopeless() -> None:
    raise NonRetryable("no use in trying again")


@task
def raises(text: str) -> None:
    raise KeyError(text)


@task
def hangs(marker: str) -> None:
    """Writes to `marker` that it runs, and hangs in its first attempt alone."""
    run = current_run()
    assert run is not None
    with open(marker, "a") as file:
        file.write(f"{os.getpid()}\n")
    while run.attempt == 1:
        time.sleep(0.05)


@task(timeout_seconds=0.3)
def too_slow() -> None:
    while True:
        time.sleep(0.01)


@task
def sleeps_until_told(marker: str) -> None:
    with open(marker, "a") as file:
        file.write("running\n")
    while True:
        time.sleep(0.01)


@task
def deaf(marker: str) -> None:
    """One call that nothing breaks into."""
    with open(marker, "a") as file:
        file.write("running\n")
    time.sleep(3600)


@task
def computes(seconds: float) -> int:
    """Holds Python's lock: each sum is one step of the interpreter, which no other thread can break into."""
    begun = time.monotonic()
    n = sum(range(10**6))
    size = int(10**6 * min(seconds, 8.0) / (time.monotonic() - begun))
    while time.monotonic() < begun + seconds:
        n += sum(range(size))
    return n


@flow
def fans_out(n: int) -> int:
    handles = add.with_options(queue=current_queue).delay_map(range(n), [1] * n)
    return sum(handle.result() for handle in handles)


@task
def ends_late(path: str) -> None:
    time.sleep(0.3)  # its flow has returned by then
    note(path, "late")


@flow
async def leaves_work(path: str) -> str:
    """Returns while what it has submitted goes on, and does not look at what fails."""
    ends_late.submit(path)
    raises.submit("lost")
    return "left"


@flow
def crashes_once(marker: str) -> list:
    """Starts two children, and kills its process before it has their results."""
    handles = [pid.with_options(queue=current_queue).delay() for _ in range(2)]
    first_time = not os.path.exists(marker)
    with open(marker, "a") as file:
        file.write(" ".join(handle.id for handle in handles) + "\n")
    if first_time:
        os.kill(os.getpid(), 9)
    return [handle.result() for handle in handles]


def note(path: str, line: str) -> None:
    with open(path, "a") as file:
        file.write(line + "\n")


@task
def counted(path: str, name: str) -> str:
    note(path, name)
    return name


@flow
def counted_flow(path: str) -> list:
    return [counted(path, "below"), counted(path, "below")]


@task
def fails_at_first(path: str, name: str) -> str:
    note(path, name)
    with open(path) as file:
        if file.read().split().count(name) == 1:
            raise ValueError("not yet")
    return name


@task
def keeps_to_itself(path: str) -> Any:
    note(path, "unkept")
    return threading.Lock()


@task
def takes_anything(path: str, it: Any) -> None:
    note(path, "anything")


@flow
def is_killed_midway(path: str, whom: str) -> list:
    """Kills its process, or its worker, once it has called everything, when it does so for the first time."""
    queued = counted.with_options(queue=current_queue)
    handles = queued.delay_map([path] * 20, [f"queued-{n}" for n in range(20)])
    futures = counted.map([path] * 10, [f"submitted-{n}" for n in range(10)])
    elsewhere = counted.with_options(execution="process")
    futures += elsewhere.map([path] * 3, [f"elsewhere-{n}" for n in range(3)])
    results = [counted(path, f"called-{n}") for n in range(10)]
    results += [elsewhere(path, "called-elsewhere-0")]
    results += [counted(path, "same"), counted(path, "same")]
    results += counted_flow(path)
    results += [future.result() for future in futures] + [handle.result() for handle in handles]
    counted.with_options(always_new=True)(path, "always-new")
    queued.with_options(always_new=True).delay(path, "always-new-queued").result()
    keeps_to_itself(path)
    takes_anything(path, threading.Lock())
    note(path, "whole")
    with open(path) as file:
        if file.read().split().count("whole") == 1:
            os.kill(os.getppid() if whom == "worker" else os.getpid(), 9)
            time.sleep(3600)  # nothing survives its worker
    return results


@flow(retries=1)
def fails_midway(path: str) -> list:
    """Fails for its queued child, which is tried again with it."""
    return [
        counted(path, "fine"),
        fails_at_first.with_options(queue=current_queue).delay(path, "queued").result(),
    ]


@flow(retries=1)
def fails_midway_here(path: str) -> list:
    return [counted(path, "fine"), fails_at_first(path, "local")]


@task
def is_deaf_at_first(path: str) -> int:
    """Sits in one call that nothing breaks into, until someone writes to the pipe."""
    note(path, "executed")
    run = current_run()
    assert run is not None
    if len(lines_of(path)) == 2:  # with the line of its flow
        with open(f"{path}.pipe") as pipe:
            pipe.read()
    return run.attempt


@flow(timeout_seconds=4, retries=1, execution="thread")
def leaves_its_child(path: str) -> int:
    """Its second attempt begins while the code of the first one is deaf, which hears again later."""
    run = current_run()
    assert run is not None
    note(path, "called")
    if run.attempt == 2:
        threading.Timer(0.5, lambda: note(f"{path}.pipe", "wake up")).start()
    return is_deaf_at_first(path)


def lines_of(path: str) -> list:
    with open(path) as file:
        return file.read().split()


@flow
def asks(path: str) -> list:
    note(path, "begun")
    return [pause("first", request="how many?"), pause("second", timeout=60)]


@flow
async def asks_async(path: str) -> list:
    note(path, "begun")
    return [await pause("first", request="how many?"), await pause("second", timeout=60)]


@flow
def suspends(path: str) -> list:
    note(path, "begun")
    return [suspend("first", request="how many?"), suspend("second", timeout=60)]


@flow
async def suspends_async(path: str) -> list:
    note(path, "begun")
    return [await suspend("first", request="how many?"), await suspend("second", timeout=60)]


@task
def holds(limit: str, entered: str, told: str) -> None:
    with concurrency(limit):
        note(entered, "entered")
        while not os.path.exists(told):
            time.sleep(0.02)


@task
async def holds_async(limit: str, entered: str, told: str) -> None:
    async with concurrency(limit):
        note(entered, "entered")
        while not os.path.exists(told):
            await asyncio.sleep(0.02)


@flow
def delays_sticky() -> list:
    child = pid.with_options(queue=current_queue, sticky=True).delay()
    return [os.getppid(), child.result(), child.run().preferred_worker]


current_queue = sys.argv[1] if len(sys.argv) > 1 else "default"

if __name__ == "__main__":
    serve(
        add, add_async, pid, say, opaque, third_time, hopeless, raises, hangs, too_slow, sleeps_until_told, computes,
        fans_out, leaves_work, crashes_once, deaf, counted, fails_at_first, is_killed_midway, fails_midway, fails_midway_here,
        leaves_its_child, asks, asks_async, suspends, suspends_async, holds, holds_async, delays_sticky,
        queues=[current_queue],
        drain_seconds=5,
        labels=dict(label.split("=", 1) for label in sys.argv[2:]),
    )
