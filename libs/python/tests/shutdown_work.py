"""Programs that are ended in the midst: `python shutdown_work.py NAME`."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from typing import Any

from tidegate import current_run, flow, get_run_logger, task


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")  # in one piece, as print is not: several threads tell


def tell() -> None:
    run = current_run()
    assert run is not None
    say(f"{run.name} {run.run_id}")


def wait() -> None:
    say("ready")
    while True:
        time.sleep(0.01)


@task
def inner() -> None:
    tell()
    get_run_logger().info("inner begins")
    wait()


@task(name="inner")
async def inner_async() -> None:
    tell()
    get_run_logger().info("inner begins")
    say("ready")
    await asyncio.Event().wait()


@task(name="inner")
def inner_deaf() -> None:
    tell()
    is_told = False
    while True:
        try:
            if not is_told:
                is_told = True
                say("ready")  # the signal comes now: also before the sleep has begun
            time.sleep(1_000)
        except BaseException:
            pass


@task(name="inner")
def inner_short() -> None:
    tell()
    get_run_logger().info("inner begins")
    say("ready")
    sys.stdin.read()  # until the program has come to its end
    get_run_logger().info("inner ends")


@flow(name="outer")
def nested() -> None:
    tell()
    inner()


@flow(name="outer")
def submitted() -> None:
    tell()
    inner.submit()
    inner.submit().result()


@flow(name="outer")
async def asynchronous() -> None:
    tell()
    await inner_async()


@flow(name="outer")
def deaf() -> None:
    tell()
    inner_deaf.submit().result()


@flow(name="outer")
def own_handler() -> None:
    tell()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    say("ready")
    while not ended.wait(0.01):
        pass


def daemons() -> Any:
    def call() -> None:
        while True:
            quick()

    quick()
    for _ in range(4):
        threading.Thread(target=call, daemon=True).start()
    say("ready")


@task
def quick() -> None: ...


if __name__ == "__main__":
    name = sys.argv[1]
    if name == "asynchronous":
        asyncio.run(asynchronous())
    elif name == "left_running":
        inner_short.submit()
        say("ended")
    elif name == "own_handler":
        own_handler()
        sys.exit(3)
    else:
        globals()[name]()
