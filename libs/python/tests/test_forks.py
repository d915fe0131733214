"""Processes that are forked, by whatever means, from one that uses Tidegate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from conftest import HERE, PATIENCE

pytestmark = pytest.mark.every_python


def run(script: str, *arguments: str) -> Any:
    """What a script prints, which has a server inside of its process."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    done = subprocess.run(
        [sys.executable, script, *arguments], env={**plain, "TIDEGATE_EPHEMERAL": "1"}, cwd=HERE, capture_output=True,
        text=True, timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_of_multiprocessing_have_connections_of_their_own(method: str) -> None:
    found = run("fork_work.py", "pool", method)
    assert found["values"] == [0, 2, 2, 6]
    assert found["state"] == "COMPLETED"
    # A forked process is still inside of the flow; another one is a program of its own.
    below = ["double"] * 4 if method == "fork" else []
    assert sorted(found["below"]) == sorted([*below, "busy"])
    assert found["doubles"] == {"COMPLETED": 5}
    assert found["logs"] == ["doubling 0", "doubling 1", "doubling 1", "doubling 3"]


def test_a_process_that_ends_by_itself_loses_nothing() -> None:
    assert run("fork_work.py", "process") == {"state": "COMPLETED", "doubles": {"COMPLETED": 1}, "logs": ["doubling 21"]}


def test_workers_that_are_forked_before_they_serve() -> None:
    """As gunicorn does: the master has imported the program, called it, and waits in streams of its own."""
    found = run("fork_work.py", "preforked")
    assert found["codes"] == [0, 0, 0]
    assert found["doubles"] == {"COMPLETED": 31}
    assert found["value"] == 8


def test_a_child_that_goes_on_as_its_parent_is_told() -> None:
    found = run("fork_work.py", "runaway")
    assert found["parent"] == "COMPLETED"
    assert found["child"] == (
        "TidegateError: this process was forked inside of a run, which is reported by the process that it was forked from: "
        "end a child by os._exit(), as multiprocessing does, and use nothing there that was made before the fork"
    )


def test_a_future_of_the_parent_is_not_waited_for_in_a_child() -> None:
    assert run("fork_work.py", "future") == (
        "`busy` was submitted by the process from which this one was forked: ask for its result there"
    )


def test_the_slots_of_a_block_stay_with_the_parent() -> None:
    assert run("fork_work.py", "slots") == {"child": 0, "held": True}
