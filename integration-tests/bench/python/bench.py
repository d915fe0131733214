"""Tidegate's Python SDK beside Celery and taskiq, all with the Redis and the Postgres of this run.

    integration-tests/run bench python [--rounds N] [--tasks N]

Each round measures all three, one after the other. `tasks/s`: no-op tasks that one caller starts and one worker process
ends, each with its result stored, from the first call to the last stored result. The worker of each has up to 1,000 tasks
at once or fetched ahead. `start`: the median from a task's call to the first line of its code, in that fan-out, and of
calls one after the other with nothing else to do. Tidegate has each run in Postgres before the call returns, and its
result before the run has ended; the others have both in Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import redis

HERE = Path(__file__).parent
#: How long anything may take, in seconds.
PATIENCE = 120.0
#: How many tasks a worker has at once, or fetches ahead.
CONCURRENCY = 1_000
#: Calls of which the start is measured, after as many that warm it up.
CALLS = 200


class Measured(NamedTuple):
    """One round of one system."""

    tasks_per_s: float
    #: Milliseconds from a call of the fan-out to the code.
    start: float
    #: The same of a call with nothing else to do.
    idle_start: float


@contextmanager
def worker(*command: str, ready: str) -> Iterator[None]:
    """A worker process that has written a line with `ready`."""
    process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if ready in line:
            break
    else:
        raise SystemExit(f"the worker {command} ended: {''.join(said)}")
    threading.Thread(target=process.stdout.read, daemon=True).start()
    try:
        yield
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ends it, by force if need be."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def server() -> Iterator[None]:
    """All services of Tidegate in one process, on this run's Postgres and Redis."""
    command = [os.environ["BENCH_SERVER"], "dev", "--port", "0", "--postgres", os.environ["BENCH_POSTGRES"]]
    process = subprocess.Popen([*command, "--redis", os.environ["BENCH_REDIS"]], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("listening on "):
                os.environ["TIDEGATE_ADDRESS"] = line.removeprefix("listening on ").strip()
                break
        else:
            raise SystemExit("the server ended before it listened")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield
    finally:
        end(process)


def n_results(database: int) -> int:
    """Results that are stored in a database of this run's Redis: there, they alone expire."""
    keys = store(database).info("keyspace").get(f"db{database}", {})
    return int(keys.get("expires", 0))


def store(database: int) -> redis.Redis:
    """A database of this run's Redis."""
    return redis.Redis.from_url(f"{os.environ['BENCH_REDIS']}/{database}")


def until_stored(database: int, n: int) -> int:
    """When so many results were stored: asked for every few milliseconds, so that the worker has no part in it."""
    deadline = time.monotonic() + PATIENCE
    while n_results(database) < n:
        if time.monotonic() > deadline:
            raise SystemExit(f"{n_results(database)} of {n} results are stored after {PATIENCE:.0f} s")
        time.sleep(0.005)
    return time.monotonic_ns()


def tidegate(n: int) -> Measured:
    """All tasks by one call."""
    import tidegate
    from work_tidegate import nothing

    with worker(sys.executable, "work_tidegate.py", ready=" serves "):
        tidegate.gather(nothing.delay_map(range(200)), timeout=PATIENCE)
        begun = time.monotonic_ns()
        started = tidegate.gather(nothing.delay_map(range(n)), timeout=PATIENCE)
        rate = n / (time.monotonic_ns() - begun) * 1e9
        idle_start = median_start(lambda: nothing.delay(0).result(PATIENCE))
        return Measured(rate, median_between([begun] * n, started), idle_start)


def celery(n: int) -> Measured:
    """One call after the other: it has no other way."""
    from work_celery import app, nothing

    command = [sys.executable, "-m", "celery", "-A", "work_celery", "worker", "--pool", "solo", "--loglevel", "info"]
    store(1).flushdb()
    with worker(*command, "--without-gossip", "--without-mingle", ready=" ready."):
        called, called_at = [], []
        begun = time.monotonic_ns()
        for idx in range(n):
            called_at.append(time.monotonic_ns())
            called.append(nothing.delay(idx))
        rate = n / (until_stored(1, n) - begun) * 1e9
        stored = store(1).mget([app.backend.get_key_for_task(result.id) for result in called])
        started = [json.loads(result)["result"] for result in stored]
        idle_start = median_start(lambda: nothing.delay(0).get(timeout=PATIENCE))
        return Measured(rate, median_between(called_at, started), idle_start)


def taskiq(n: int) -> Measured:
    """A hundred calls at once."""
    from work_taskiq import broker, nothing

    async def call(idx: int) -> tuple[int, str]:
        called_at = time.monotonic_ns()
        return called_at, (await nothing.kiq(idx)).task_id

    async def start() -> int:
        called = await nothing.kiq(0)
        result = await called.wait_result(check_interval=0.001, timeout=PATIENCE)
        return int(result.return_value)

    async def measure() -> Measured:
        await broker.startup()
        called: list[tuple[int, str]] = []
        begun = time.monotonic_ns()
        for first in range(0, n, 100):
            called += await asyncio.gather(*(call(idx) for idx in range(first, min(first + 100, n))))
        rate = n / (await asyncio.to_thread(until_stored, 2, n) - begun) * 1e9
        started = [(await broker.result_backend.get_result(task_id)).return_value for _, task_id in called]
        idle_starts = []
        for _ in range(2 * CALLS):
            called_at = time.monotonic_ns()
            idle_starts.append((await start() - called_at) / 1e6)
        await broker.shutdown()
        start_ms = median_between([called_at for called_at, _ in called], started)
        return Measured(rate, start_ms, statistics.median(idle_starts[CALLS:]))

    store(2).flushdb()
    command = [sys.executable, "-m", "taskiq", "worker", "work_taskiq:broker", "--workers", "1"]
    command += ["--max-async-tasks", str(CONCURRENCY)]
    with worker(*command, ready="Listening started"):
        return asyncio.run(measure())


def median_between(called_at: list[int], started: list[int]) -> float:
    """Milliseconds from the calls to their code."""
    return statistics.median((start - call) / 1e6 for call, start in zip(called_at, started))


def median_start(call: Callable[[], int]) -> float:
    """Milliseconds from a call to the code, by what the code says when it began."""
    starts = []
    for _ in range(2 * CALLS):
        called_at = time.monotonic_ns()
        starts.append((call() - called_at) / 1e6)
    return statistics.median(starts[CALLS:])


def submit(n: int) -> float:
    """Runs a second that a flow submits, executes and has recorded in full."""
    from work_tidegate import submits

    submits(200)
    begun = time.monotonic()
    assert submits(n) == n
    return n / (time.monotonic() - begun)


def importing() -> float:
    """Milliseconds that `import tidegate` adds to the start of Python."""

    def once(code: str) -> float:
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.monotonic() - begun

    pairs = [(once("import tidegate"), once("pass")) for _ in range(10)]
    return statistics.median((with_it - without) * 1e3 for with_it, without in pairs)


def unrecorded() -> float:
    """Microseconds that a decorated function adds to a call outside of any run, with recording off."""
    code = """
import time
from work_tidegate import nothing
def per_call(function, n=20_000):
    begun = time.perf_counter()
    for idx in range(n): function(idx)
    return (time.perf_counter() - begun) / n * 1e6
per_call(nothing, 100)
print(per_call(nothing) - per_call(nothing.fn))
"""
    environment = {**os.environ, "TIDEGATE_RECORDING": "off"}
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, env=environment, cwd=HERE, check=True, capture_output=True).stdout)


def spread(values: list[float], digits: int) -> str:
    """`median (min to max)`."""
    return "{:,.{d}f} ({:,.{d}f} to {:,.{d}f})".format(statistics.median(values), min(values), max(values), d=digits)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=10_000)
    options = parser.parse_args()
    os.environ["BENCH_CONCURRENCY"] = str(CONCURRENCY)
    sys.path.insert(0, str(HERE))
    with server():
        measure_all(options)


def measure_all(options: argparse.Namespace) -> None:
    """In rounds."""
    rounds: dict[str, list[Measured]] = {}
    submitted = []
    for _ in range(options.rounds):
        for measure in (tidegate, celery, taskiq):
            rounds.setdefault(measure.__name__, []).append(measure(options.tasks))
        submitted.append(submit(options.tasks))
    print(f"{options.tasks:,} tasks, {options.rounds} rounds, medians (min to max)")
    for name, measured in rounds.items():
        rates, starts, idle_starts = map(list, zip(*measured))
        print(f"{name:<10} {spread(rates, 0):>28} tasks/s   start {spread(starts, 0):>22} ms", end="")
        print(f"   idle start {spread(idle_starts, 1):>20} ms")
    pairs = [(ours, max(theirs)) for ours, *theirs in zip(*rounds.values())]
    print(f"tidegate / the faster of the others: {spread([ours[0] / theirs[0] for ours, theirs in pairs], 2)}")
    print(f".submit() in one flow: {spread(submitted, 0)} runs/s")
    print(f"import tidegate: {importing():.0f} ms")
    print(f"a call outside of any run, recording off: {unrecorded():.1f} µs above the plain function")


if __name__ == "__main__":
    main()
