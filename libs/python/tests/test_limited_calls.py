"""Functions with `concurrency_limits` that are called, submitted and mapped, in one process and several, against a real
server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from typing import Any, Iterator

import pytest

import process_work as work
from conftest import PATIENCE, Processes, until
from test_blocks import limits, shown
from tidegate import (
    InvalidArgument,
    NotFound,
    RunCancelled,
    RunCrashed,
    RunFailed,
    WouldDeadlock,
    concurrency,
    current_run,
    find_runs,
    flow,
    get_run,
    task,
)

pytestmark = pytest.mark.usefixtures("server")

#: Calls of the one flow of each process.
N_CALLS = 20

#: What a process of its own does: `LIMIT PORT sync|async LEASE`.
MAPS = """
import asyncio, os, socket, sys
import tidegate._local_calls
from tidegate import flow, task

limit, port, kind, lease = sys.argv[1:]
tidegate._local_calls.SLOTS_LEASE_SECONDS = float(lease)

@task(concurrency_limits=[limit])
def occupies(n):
    with socket.create_connection(("127.0.0.1", int(port))) as observer:
        observer.sendall(b"%d\\n" % os.getpid())
        assert observer.recv(1) == b"."
    return n

@task(concurrency_limits=[limit])
async def occupies_async(n):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(b"%d\\n" % os.getpid())
    assert await reader.read(1) == b"."
    writer.close()
    await writer.wait_closed()
    return n

@flow
def maps():
    return (occupies_async if kind == "async" else occupies).map(range(20)).result()

assert maps() == list(range(20))
"""

#: Its lease ends while its code runs, which goes on until that is known: `LIMIT`.
LOSES = """
import sys, time
import tidegate._local_calls
from tidegate import SlotsLost, current_run, task

tidegate._local_calls.SLOTS_LEASE_SECONDS = 1.0
held = []

class Noted(tidegate._local_calls._Slots):
    def result(self):
        super().result()
        held.append(self._held)

tidegate._local_calls._Slots = Noted

@task(concurrency_limits=[sys.argv[1]])
def loses():
    print(current_run().run_id)
    while not held[0].is_lost:
        time.sleep(0.01)

try:
    loses()
except SlotsLost as error:
    print("told", sys.argv[1] in str(error))
"""

#: A call that waits for a slot is cancelled while its server does not answer: `ADDRESS PID`.
GIVES_UP = """
import asyncio, os, signal, subprocess, sys
from tidegate import concurrency, find_runs, task

os.environ["TIDEGATE_ADDRESS"], server = sys.argv[1], int(sys.argv[2])
subprocess.run([os.environ["TIDEGATE_BIN"], "concurrency", "set", "one", "1"], check=True, stdout=subprocess.DEVNULL)

@task(concurrency_limits=["one"])
async def limited():
    raise AssertionError("it was executed")

async def main():
    async with concurrency("one"):
        call = asyncio.ensure_future(limited())
        while not await find_runs(name="limited", state="PENDING"):
            pass
        os.kill(server, signal.SIGSTOP)
        call.cancel()
        await asyncio.wait([call], timeout=30)
        print(call.done() and call.cancelled())
        os.kill(server, signal.SIGCONT)

asyncio.run(main())
"""


class Observer:
    """What code of other processes connects to while it runs: sees how much of it runs at once, and lets it end."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        #: The process and the connection of each that runs, the earliest first.
        self.seen: list[tuple[int, socket.socket]] = []

    def see(self, n: int) -> None:
        """Waits until so many run, and looks for more."""
        self._listener.settimeout(PATIENCE)
        while len(self.seen) < n:
            connection, _ = self._listener.accept()
            connection.settimeout(PATIENCE)
            pid = connection.makefile().readline()
            self.seen.append((int(pid), connection))
        self._listener.settimeout(0.05)
        with pytest.raises(TimeoutError):
            self._listener.accept()

    def end_one(self) -> int:
        """Lets the earliest end; its process."""
        pid, connection = self.seen.pop(0)
        connection.sendall(b".")
        assert connection.recv(1) == b"", "it has ended"
        connection.close()
        return pid

    def forget(self, pid: int) -> None:
        """That process is no more."""
        for each in [each for each in self.seen if each[0] == pid]:
            self.seen.remove(each)
            each[1].close()

    def close(self) -> None:
        for _, connection in self.seen:
            connection.close()
        self._listener.close()


@pytest.fixture
def observer() -> Iterator[Observer]:
    observer = Observer()
    yield observer
    observer.close()


def a_limit(n_slots: int) -> str:
    """The name of a new limit."""
    name = f"calls-{uuid.uuid4().hex[:12]}"
    limits("set", name, str(n_slots))
    return name


@pytest.fixture
def one() -> str:
    """The name of a limit with one slot."""
    return a_limit(1)


def run_id() -> str:
    run = current_run()
    assert run is not None
    return run.run_id


def holders(limit: str) -> list[str]:
    return [slot["run_id"] for slot in shown(limit)["slots"]]


def until_created(run_id: str) -> None:
    def is_there() -> bool:
        try:
            return get_run(run_id).state.type == "PENDING"
        except NotFound:
            return False

    until(is_there)


def two_that_map(
    processes: Processes, observer: Observer, limit: str, kind: str, lease: int = 30
) -> dict[int, subprocess.Popen[str]]:
    started = [processes.start("-c", MAPS, limit, str(observer.port), kind, str(lease)) for _ in range(2)]
    return {process.pid: process for process in started}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_two_processes_map_is_bounded_together(processes: Processes, observer: Observer, kind: str) -> None:
    three = a_limit(3)
    flows = two_that_map(processes, observer, three, kind)
    ended = []
    for n_left in range(2 * N_CALLS, 0, -1):
        observer.see(min(n_left, 3))
        ended.append(observer.end_one())
    for pid, process in flows.items():
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert ended.count(pid) == N_CALLS
    assert shown(three)["used_slots"] == 0


def test_others_go_on_when_a_process_is_killed_that_has_slots(processes: Processes, observer: Observer) -> None:
    three = a_limit(3)
    flows = two_that_map(processes, observer, three, "sync", lease=10)  # so long they wait for who is killed
    n_left = dict.fromkeys(flows, N_CALLS)
    for _ in range(3):
        observer.see(3)
        n_left[observer.end_one()] -= 1
    observer.see(3)
    killed = observer.seen[0][0]
    flows.pop(killed).send_signal(signal.SIGKILL)
    observer.forget(killed)
    ((pid, process),) = flows.items()
    for n in range(n_left[pid], 0, -1):
        observer.see(min(n, 3))
        assert observer.end_one() == pid
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert shown(three)["used_slots"] == 0


def test_a_call_has_its_slots_as_its_run_while_its_code_runs(one: str) -> None:
    @task(concurrency_limits=[one, "not defined"])
    def holds() -> tuple[str, list[str]]:
        return run_id(), holders(one)

    @task(concurrency_limits=[one, "not defined"])
    async def holds_async() -> tuple[str, list[str]]:
        return run_id(), holders(one)

    async def awaits() -> tuple[str, list[str]]:
        return await holds_async()

    @flow
    def outer() -> list[tuple[str, list[str]]]:
        return [holds(), holds.submit().result(), holds_async.submit().result()]

    for its_id, found in [holds(), asyncio.run(awaits()), *outer()]:
        assert found == [its_id]
    assert shown(one)["used_slots"] == 0


def test_the_slots_of_an_attempt_are_free_before_the_next(one: str) -> None:
    order: list[Any] = []

    def takes_it(_: BaseException) -> bool:
        with concurrency(one, timeout=PATIENCE):
            order.append("between")
        return True

    @task(concurrency_limits=[one], retries=1, retry_condition_fn=takes_it)
    def fails_first() -> None:
        order.append(holders(one) == [run_id()])
        if len(order) == 1:
            raise ValueError("once")

    fails_first()
    assert order == [True, "between", True]
    assert shown(one)["used_slots"] == 0


def test_slots_are_free_however_the_code_ends(one: str) -> None:
    @task(concurrency_limits=[one])
    def fails() -> None:
        raise ValueError("no")

    @task(concurrency_limits=[one], timeout_seconds=0.1)
    def stalls() -> None:
        while True:
            time.sleep(0.01)

    @task(concurrency_limits=[one])
    async def is_cancelled() -> None:
        get_run(run_id()).cancel("enough")
        await asyncio.sleep(PATIENCE)

    with pytest.raises(ValueError, match="no"):
        fails()
    assert shown(one)["used_slots"] == 0
    with pytest.raises(RunFailed, match="0.1 s"):
        stalls()
    assert shown(one)["used_slots"] == 0
    with pytest.raises(RunCancelled):
        is_cancelled.submit().result(timeout=PATIENCE)
    assert shown(one)["used_slots"] == 0


def test_a_call_that_waits_for_a_slot_can_be_cancelled(one: str) -> None:
    begun: list[str] = []
    is_hooked = task(concurrency_limits=[one], on_cancellation=lambda _, run, state: begun.append("a hook"))

    @is_hooked
    def waits() -> None:
        begun.append("sync")

    @is_hooked
    async def waits_async() -> None:
        begun.append("async")

    @flow
    def outer() -> None:
        with concurrency(one):
            for function in (waits, waits_async):
                future = function.submit()
                assert future.id
                until_created(future.id)
                get_run(future.id).cancel("enough")
                with pytest.raises(RunCancelled):
                    future.result(timeout=PATIENCE)
                assert get_run(future.id).run().started_at is None

    @task(name=f"limited-{uuid.uuid4().hex[:12]}", concurrency_limits=[one])
    async def is_given_up() -> None:
        begun.append("given up")

    async def until_pending() -> None:
        while not await find_runs(name=is_given_up.name, state="PENDING"):
            pass

    async def gives_up() -> None:
        async with concurrency(one):
            call = asyncio.ensure_future(is_given_up())
            await asyncio.wait_for(until_pending(), PATIENCE)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    outer()
    asyncio.run(gives_up())
    until(lambda: find_runs(name=is_given_up.name, state="FAILED"))
    with concurrency(one, timeout=PATIENCE):
        assert shown(one)["used_slots"] == 1, "who has given up is not in line any more"
    assert begun == []


def test_the_time_of_a_run_is_not_that_of_its_wait(one: str) -> None:
    @task(timeout_seconds=1)
    def stalls() -> None:
        while True:
            time.sleep(0.01)

    @task(concurrency_limits=[one], timeout_seconds=1)
    def is_quick() -> str:
        return "done"

    @flow
    def outer() -> str:
        with concurrency(one):
            waits = is_quick.submit()
            assert waits.id
            until_created(waits.id)
            with pytest.raises(RunFailed):
                stalls()
        return waits.result(timeout=PATIENCE)

    assert outer() == "done"


def test_a_limit_that_cannot_be_named_fails_the_call_with_the_option(one: str) -> None:
    @task(concurrency_limits=[one, "customer=*"], retries=3)
    def wrong() -> None:
        raise AssertionError("it was executed")

    with pytest.raises(InvalidArgument, match=r"`wrong` has concurrency_limits=\[.*'customer=\*'\]: .*template"):
        wrong()
    assert shown(one)["used_slots"] == 0


@pytest.fixture
def server_of_its_own() -> Iterator[tuple[str, int]]:
    """The address and the process of another server, for one that is stopped."""
    command = [os.environ["TIDEGATE_BIN"], "dev", "--ephemeral", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    listening = next(line for line in process.stdout if line.startswith("listening on "))
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield listening.removeprefix("listening on ").strip(), process.pid
    process.kill()
    process.wait(PATIENCE)


def test_who_cancels_a_call_that_waits_for_a_slot_waits_for_no_server(
    processes: Processes, server_of_its_own: tuple[str, int]
) -> None:
    address, pid = server_of_its_own
    assert processes.run("-c", GIVES_UP, address, str(pid)).splitlines() == ["True"]


def test_code_whose_slots_were_lost_has_failed(processes: Processes, one: str) -> None:
    process = processes.start("-c", LOSES, one)
    until(lambda: shown(one)["used_slots"] == 1)
    process.send_signal(signal.SIGSTOP)
    with concurrency(one, timeout=PATIENCE):
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=PATIENCE)
    run_id, *told = out.splitlines()
    assert told == ["told True"], err
    run = get_run(run_id).run()
    assert (run.state[0], run.failure and run.failure[0]) == ("FAILED", "SlotsLost")


@task(execution="process", max_crashes=0)
def holds_elsewhere(limit: str, dies: bool) -> tuple[int, bool]:
    found = holders(limit)
    if dies:
        work.die("SIGKILL")
    return os.getpid(), found == [run_id()]


def test_code_in_a_process_of_its_own_has_slots(one: str) -> None:
    limited = holds_elsewhere.with_options(concurrency_limits=[one])
    pid, has_slot = limited(one, False)
    assert pid != os.getpid() and has_slot
    assert shown(one)["used_slots"] == 0
    with pytest.raises(RunCrashed):
        limited(one, True)
    assert shown(one)["used_slots"] == 0


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_retry_that_waits_for_its_slots_tells_so_and_can_be_cancelled(one: str, kind: str) -> None:
    begun: list[str] = []
    hooked: list[Any] = []
    between = concurrency(one, timeout=PATIENCE)

    def takes_it(_: BaseException) -> bool:
        between.__enter__()
        return True

    def notes(run: Any, state: Any, exception: Any) -> None:
        hooked.append((run.id, run.attempt, state, type(exception)))

    is_hooked = task(concurrency_limits=[one], retries=1, retry_condition_fn=takes_it, on_cancellation=notes)

    @is_hooked
    def fails_first() -> None:
        begun.append("sync")
        raise ValueError("once")

    @is_hooked
    async def fails_first_async() -> None:
        begun.append("async")
        raise ValueError("once")

    @flow
    def outer() -> None:
        future = (fails_first_async if kind == "async" else fails_first).submit()
        until(lambda: future.state[:2] == ("SCHEDULED", "AwaitingRetry"))
        handle = get_run(str(future.id))
        assert handle.state[:2] == future.state[:2]
        handle.cancel("enough")
        with pytest.raises(RunCancelled):
            future.result(timeout=PATIENCE)
        assert future.state.type == handle.state.type == "CANCELLED"
        assert hooked == [(handle.id, 2, handle.state, RunCancelled)]

    outer()
    between.__exit__(None, None, None)
    assert (begun, shown(one)["used_slots"]) == ([kind], 0), "the second attempt was not executed"


def test_a_sync_call_may_not_wait_for_slots_in_the_event_loop_of_async_code(one: str) -> None:
    @task(concurrency_limits=[one])
    def limited() -> str:
        return "done"

    @flow
    async def outer() -> str:
        with pytest.raises(WouldDeadlock, match=r"`await limited\.submit\(…\)`"):
            limited()
        return await limited.submit()

    async def of_its_own() -> str:
        return limited()

    assert outer.submit().result(timeout=PATIENCE) == "done"
    assert asyncio.run(of_its_own()) == "done"
