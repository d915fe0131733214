"""Flows that start by the clock, in programs written for Prefect."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Iterator
from zoneinfo import ZoneInfo

import pytest

from conftest import Processes, until
from running import SCRIPTS, run, runs
from test_pools import Lab
from tidegate.schedules import Cron, Interval, RRule, Schedule, delete_schedule, find_schedules

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A pool of this test alone."""
    lab = Lab(tmp_path)
    yield lab
    lab.end()


def schedules(deployment: str) -> dict[str, Schedule]:
    return {schedule.name: schedule.schedule for schedule in find_schedules(deployment)}


def test_a_served_flow_starts_by_the_clock(processes: Processes, tmp_path: Path) -> None:
    ticks = tmp_path / "ticks"
    processes.worker("-m", "tidegate.compat.prefect", str(SCRIPTS / "scheduled.py"), str(tmp_path))
    until(lambda: ticks.exists() and ticks.read_text().count("tick") >= 2)
    delete_schedule("tick/every-second")
    assert all("clock" in run.tags for run in runs('deployment = "tick/every-second"'))


def test_all_the_ways_to_say_when(processes: Processes, lab: Lab, tmp_path: Path) -> None:
    lab.worker()
    both, hour, triggers, made, pooled, no_pool = run(processes, "scheduling", str(tmp_path), lab.pool).splitlines()
    assert both.startswith("a deployment has interval= and cron=: only one of interval, cron, rrule, schedule")
    assert "at column 3, the hour `61`" in hour and "`triggers=` of the deployment 'wrong'" in triggers
    assert (made, pooled) == ("True", "Completed POOLED") and (tmp_path / "pooled").read_text() == "done"
    assert "needs a work pool" in no_pool and "serve" in no_pool

    anchor = datetime(2030, 1, 1, 2, tzinfo=ZoneInfo("Europe/Berlin"))
    assert schedules("clockwork/lists") == {
        "nightly": Cron("0 3 * * *", name="nightly", timezone="Europe/Berlin", parameters={"word": "night"}),
        "default-2": Interval(21_600.0, name="default-2", anchor_date=anchor, timezone="Europe/Berlin"),
        "default-3": RRule("FREQ=WEEKLY;BYDAY=MO", name="default-3", active=False),
        "default-4": Cron("0 4 1 * 1", name="default-4", day_or=False, parameters={"word": "monthly"}),
        "default-5": RRule("FREQ=DAILY", name="default-5", timezone="UTC"),
    }
    assert schedules("clockwork/crons") == {"default": Interval(300.0)}, "the list is all that the deployment has"
    assert [each.active for each in schedules("clockwork/paused").values()] == [False]
    assert [each.active for each in schedules("clockwork/resumed").values()] == [True]
    assert schedules("clockwork/wrong") == {}
    assert schedules("clockwork/pooled") == {"default": Cron("0 3 * * *")}
