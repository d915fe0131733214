"""Blocks that hold slots of concurrency limits, and code that keeps to a rate, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

import work
from conftest import PATIENCE, Processes
from tidegate import InvalidArgument, WaitTimeout, concurrency, rate_limit

pytestmark = pytest.mark.usefixtures("server")


def limits(*arguments: str) -> str:
    """Runs `tidegate concurrency`."""
    done = subprocess.run(
        [os.environ["TIDEGATE_BIN"], "concurrency", *arguments], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown(name: str) -> Any:
    return json.loads(limits("get", name, "-o", "json"))


@pytest.fixture
def one() -> str:
    """The name of a limit with one slot."""
    name = f"one-{uuid.uuid4().hex[:12]}"
    limits("set", name, "1")
    return name


@pytest.fixture
def rated() -> str:
    """The name of a limit that allows two starts in an hour."""
    name = f"rated-{uuid.uuid4().hex[:12]}"
    limits("set", name, "--rate", "2/h")
    return name


HOLDER = """
import os, sys, time
from tidegate import SlotsLost, concurrency
try:
    with concurrency(sys.argv[1], lease=1) as held:
        open(sys.argv[2], "w").close()
        while not os.path.exists(sys.argv[3]):
            time.sleep(0.02)
        print("lost" if held.lost else "held")
except SlotsLost as error:
    print("told", sys.argv[1] in str(error))
"""


def until_there(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


def test_a_block_holds_its_slots_until_its_end(one: str) -> None:
    with concurrency(one, "not defined") as held:
        assert not held.lost
        assert [slot["run_id"] for slot in shown(one)["slots"]] == [""]
        with pytest.raises(WaitTimeout, match=one):
            with concurrency(one, timeout=0.1):
                pass
    assert shown(one)["used_slots"] == 0
    with pytest.raises(KeyError):
        with concurrency(one):
            raise KeyError("of the block")
    assert shown(one)["used_slots"] == 0


def test_an_async_block_waits_without_a_thread(one: str) -> None:
    async def hold(order: list[int], n: int) -> None:
        async with concurrency(one):
            order.append(n)
            await asyncio.sleep(0)
            assert shown(one)["used_slots"] == 1

    async def main() -> list[int]:
        order: list[int] = []
        await asyncio.gather(*(hold(order, n) for n in range(5)))
        return order

    assert sorted(asyncio.run(main())) == list(range(5))
    assert shown(one)["used_slots"] == 0


def test_a_killed_holder_gives_its_slot_up_with_its_lease(processes: Processes, one: str, tmp_path: Path) -> None:
    entered = tmp_path / "entered"
    holder = processes.start("-c", HOLDER, one, str(entered), str(tmp_path / "never"))
    until_there(entered)
    holder.send_signal(signal.SIGKILL)
    with concurrency(one, timeout=PATIENCE):
        assert shown(one)["used_slots"] == 1


def test_a_holder_that_was_silent_is_told_that_its_slot_was_lost(
    processes: Processes, one: str, tmp_path: Path
) -> None:
    entered, told = tmp_path / "entered", tmp_path / "told"
    holder = processes.start("-c", HOLDER, one, str(entered), str(told))
    until_there(entered)
    holder.send_signal(signal.SIGSTOP)
    with concurrency(one, timeout=PATIENCE):
        holder.send_signal(signal.SIGCONT)
        told.touch()
        out, err = holder.communicate(timeout=PATIENCE)
    assert out.splitlines()[-1:] == ["told True"], out + err


def test_a_rate_gives_its_tokens_and_no_more(rated: str) -> None:
    async def main() -> None:
        await rate_limit(rated)
        with pytest.raises(WaitTimeout):
            await rate_limit(rated, timeout=0.1)

    rate_limit(rated)
    asyncio.run(main())
    limit = shown(rated)
    assert (limit["free_tokens"], limit["used_slots"]) == (0, 0)
    assert limit["next_token_at"] is not None


def test_names_are_checked_where_they_are_written() -> None:
    with pytest.raises(InvalidArgument, match="concurrency"):
        concurrency()
    with pytest.raises(InvalidArgument, match="rate_limit"):
        rate_limit()
    with pytest.raises(InvalidArgument, match="template"):
        with concurrency("customer=*"):
            pass


def test_a_task_holds_slots_as_its_run(processes: Processes, one: str, tmp_path: Path) -> None:
    queue = f"q-{uuid.uuid4().hex[:12]}"
    processes.worker("work.py", queue)
    entered, told = tmp_path / "entered", tmp_path / "told"
    for function in (work.holds, work.holds_async):
        handle = function.with_options(queue=queue).delay(one, str(entered), str(told))
        until_there(entered)
        assert [slot["run_id"] for slot in shown(one)["slots"]] == [handle.id]
        told.touch()
        handle.result(timeout=PATIENCE)
        assert shown(one)["used_slots"] == 0
        entered.unlink()
        told.unlink()
