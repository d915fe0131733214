"""Results that are used again, in programs written for Prefect."""

from __future__ import annotations

import pytest

from conftest import Processes
from running import run

pytestmark = pytest.mark.usefixtures("server")


def test_results_are_used_again(processes: Processes) -> None:
    *told, isolation = run(processes, "caching", "a").splitlines()
    assert told == [
        "A A 1",
        "{'key': 'a'} {'key': 'a'} 2",
        "{'key': 'a'} 3",
        "3",
        "A A 1",  # under a key storage of its own
    ]
    assert "SERIALIZABLE" in isolation and "tidegate.concurrency" in isolation
    assert run(processes, "caching", "a").splitlines()[0] == "A A 0"
