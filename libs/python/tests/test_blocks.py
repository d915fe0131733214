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
from tidegate import InvalidArgument, NotFound, WaitTimeout, concurrency, rate_limit

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


@pytest.fixture
def three() -> str:
    """The name of a limit with three slots."""
    name = f"three-{uuid.uuid4().hex[:12]}"
    limits("set", name, "3")
    return name


def test_a_block_may_take_several_slots(three: str) -> None:
    async def main() -> None:
        async with concurrency(three, occupy=3):
            assert [slot["slot_count"] for slot in shown(three)["slots"]] == [3]
        async with concurrency(three):
            with pytest.raises(WaitTimeout, match="had no 3 slots left for 0.1 s"):
                async with concurrency(three, occupy=3, timeout=0.1):
                    pass

    with concurrency(three, occupy=2):
        assert (shown(three)["used_slots"], [slot["slot_count"] for slot in shown(three)["slots"]]) == (2, [2])
        with concurrency(three, timeout=PATIENCE), pytest.raises(WaitTimeout, match=three):
            with concurrency(three, timeout=0.1):
                pass
        with pytest.raises(WaitTimeout, match="had no 2 slots left for 0.1 s"):
            with concurrency(three, occupy=2, timeout=0.1):
                pass
    assert shown(three)["used_slots"] == 0
    asyncio.run(main())
    assert shown(three)["used_slots"] == 0


def test_a_block_of_several_slots_is_not_overtaken(three: str) -> None:
    """Twenty that want one slot come after one that wants all three: it has them before they do."""

    async def hold(order: list[int], occupy: int) -> None:
        async with concurrency(three, occupy=occupy):
            order.append(occupy)

    async def main() -> list[int]:
        order: list[int] = []
        async with concurrency(three), concurrency(three):
            waiting = [asyncio.ensure_future(hold(order, 3))]
            with pytest.raises(WaitTimeout):  # one slot is free, and kept for who waits for three
                for _ in range(1_000):
                    async with concurrency(three, timeout=0.1):
                        await asyncio.sleep(0)
            waiting += [asyncio.ensure_future(hold(order, 1)) for _ in range(20)]
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(main()) == [3] + [1] * 20
    assert shown(three)["used_slots"] == 0


def test_a_rate_gives_several_tokens_at_once(rated: str) -> None:
    with pytest.raises(InvalidArgument) as told:
        rate_limit(rated, occupy=3)
    assert str(told.value) == (
        f"occupy=3: 3 is more than the 2 starts that the rate of the concurrency limit `{rated}` ever allows at once: ask "
        "for fewer, or raise its burst"
    )
    rate_limit(rated, occupy=2)
    assert shown(rated)["free_tokens"] == 0


def test_a_strict_block_wants_its_limits_to_be_there(one: str) -> None:
    async def main() -> None:
        with pytest.raises(NotFound, match="no concurrency limit `nowhere`"):
            async with concurrency("nowhere", strict=True):
                pass
        with pytest.raises(NotFound, match="no concurrency limit `nowhere`"):
            await rate_limit("nowhere", strict=True)

    with pytest.raises(NotFound) as told:
        with concurrency(one, "nowhere", strict=True):
            pass
    assert "there is no concurrency limit `nowhere` in this namespace" in str(told.value)
    with pytest.raises(NotFound, match="nowhere"):
        rate_limit("nowhere", strict=True)
    asyncio.run(main())
    assert shown(one)["used_slots"] == 0, "none is taken"
    with concurrency(one, strict=True):
        assert shown(one)["used_slots"] == 1
    template = f"kind{uuid.uuid4().hex[:12]}"
    limits("set", f"{template}=*", "1")
    with concurrency(f"{template}=a", strict=True):
        pass


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2", 1_000_001])
def test_what_occupies_is_a_whole_number(wrong: Any) -> None:
    for call in (concurrency, rate_limit):
        with pytest.raises(InvalidArgument, match="it is how many slots are taken, a whole number from 1 to 1000000"):
            call("db", occupy=wrong)


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
