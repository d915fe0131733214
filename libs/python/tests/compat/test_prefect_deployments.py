"""Deployments and their runs, in programs written for Prefect."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Processes
from running import SCRIPTS, run, runs

pytestmark = pytest.mark.usefixtures("server")


def test_deployments(processes: Processes, tmp_path: Path) -> None:
    processes.worker("-m", "tidegate.compat.prefect", str(SCRIPTS / "deployed.py"))
    assert run(processes, "launching", str(tmp_path)).splitlines() == [
        "[0, 10, 20, 30, 40]",
        "[100, 110]",
        "[200, 210]",
        "False",
        "True True",
        "ObjectNotFound True",
        "Completed",
        "Completed 3 items are new",
        "Failed there is nothing new",
        "ObjectAlreadyExists True",
        "True",
        "5 xx",
    ]
    (parent,) = runs('flow = "through-tasks"')
    attempts = [(child.name, child.attempt) for child in runs(f'parent_run_id = "{parent.id}"')]
    assert attempts == [("one", 2)] * 2, "they were tried again after they had their children"
    executed = (tmp_path / "executed").read_text().split()
    assert sorted(map(int, executed)) == [0, 1, 2, 3, 4, 10, 11, 20, 21, 30], "no child was started twice"
    (tagged,) = runs('run_name = "item-10"')
    assert {"prod", "extra"} <= set(tagged.tags)
