"""What the workers of `test_processes.py` serve: `python process_work.py QUEUE`."""

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time

from tidegate import current_run, flow, get_run, get_run_logger, serve, task
from tidegate.runners import ProcessPoolTaskRunner

queue = sys.argv[1] if len(sys.argv) > 1 else "default"


def note(path: str, *words: object) -> None:
    with open(path, "a") as file:
        file.write(" ".join(map(str, words)) + "\n")


@flow
def where() -> list:
    get_run_logger().info("in a process")
    return [os.getpid(), os.getppid()]


@flow
async def where_async() -> list:
    await asyncio.sleep(0)
    return [os.getpid(), os.getppid()]


@flow(execution="thread")
def where_in_thread() -> int:
    return os.getpid()


@task
def where_task() -> int:
    return os.getpid()


@task(execution="process")
def where_process_task() -> list:
    return [os.getpid(), os.getppid()]


def die(how: str) -> None:
    if how == "segfault":
        ctypes.string_at(0)
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), getattr(signal, how))


@flow(max_crashes=0)
def dies(how: str) -> None:
    die(how)


@task(max_crashes=0, execution="process")
def dies_as_task(how: str) -> None:
    die(how)


@flow
def dies_once(path: str) -> int:
    note(path, os.getpid())
    if os.path.getsize(path) < 20 and len(open(path).readlines()) == 1:
        die("segfault")
    return current_run().attempt


def start_grandchild() -> int:
    return subprocess.Popen(["sleep", "3600"]).pid


def compute_in_c() -> None:
    """One call that never gives Python's lock back."""
    sum(range(10**15))


@flow
def computes(path: str) -> None:
    note(path, os.getpid(), start_grandchild())
    if current_run().attempt == 1:
        compute_in_c()


@flow(timeout_seconds=2)
def sleeps_too_long(path: str) -> None:
    note(path, os.getpid(), start_grandchild())
    try:
        time.sleep(3600)
    finally:
        note(path, "cleaned up")


@task(timeout_seconds=2, execution="process")
def computes_too_long(path: str) -> None:
    note(path, os.getpid(), start_grandchild())
    compute_in_c()


@flow(cancel_grace_seconds=1)
def does_not_end(path: str) -> None:
    note(path, os.getpid(), start_grandchild())
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass


@flow(cancel_grace_seconds=60)
async def ends_when_told(path: str) -> None:
    note(path, os.getpid(), start_grandchild())
    try:
        await asyncio.sleep(3600)
    finally:
        note(path, "cleaned up")


@flow
def waits_for_file(path: str) -> str:
    note(path, os.getpid())
    while not os.path.exists(f"{path}.go"):
        time.sleep(0.02)
    return "went on"


@task
def computes_in_a_pool(path: str) -> None:
    note(path, os.getpid(), start_grandchild())
    compute_in_c()


@flow(max_crashes=0, task_runner=ProcessPoolTaskRunner(max_workers=2))
def dies_over_its_pool(path: str) -> None:
    computes_in_a_pool.submit(path)
    while not os.path.exists(path):
        time.sleep(0.02)
    die("SIGKILL")


@flow(max_crashes=0)
def dies_over_its_children() -> None:
    child = where_task.with_options(queue=f"{queue}-nobody")
    child.delay()
    child.with_options(detached_on_crash=True, tags=["detached"]).delay()
    die("SIGKILL")


@flow
def ends_what_it_forks() -> list:
    """As `multiprocessing` does with its workers, and at once."""
    workers = [multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,)) for _ in range(20)]
    for worker in workers:
        worker.start()
        worker.terminate()
    for worker in workers:
        worker.join()
    return [worker.exitcode for worker in workers]


@flow
def prints_and_dies() -> None:
    print("the last words")
    die("exit")


@flow(max_crashes=0)
def logs_and_dies() -> None:
    run = current_run()
    get_run_logger().info("sent before")
    while "sent before" not in get_run(run.run_id).logs():
        time.sleep(0.02)
    get_run_logger().info("a moment before")
    print("the last words")
    die("exit")


@flow
def fails() -> None:
    raise ValueError("no")


if __name__ == "__main__":
    serve(
        where, where_async, where_in_thread, where_task, where_process_task, dies, dies_as_task, dies_once, computes,
        sleeps_too_long, computes_too_long, does_not_end, ends_when_told, waits_for_file,
        fails, ends_what_it_forks, prints_and_dies, logs_and_dies, dies_over_its_pool, dies_over_its_children,
        queues=[queue],
        drain_seconds=20,
    )
