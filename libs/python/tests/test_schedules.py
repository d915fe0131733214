"""Schedules against a real server, whose scheduler starts the runs that a worker executes."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import deployed
from conftest import Processes, until
from tidegate import Cron, Interval, InvalidArgument, NotFound, RRule, TidegateError, find_runs, get_run, serve
from tidegate.deployments import run_deployment
from tidegate.schedules import (
    backfill_schedule,
    delete_schedule,
    find_schedules,
    get_schedule,
    pause_schedule,
    preview_schedule,
    put_schedule,
    resume_schedule,
)

pytestmark = pytest.mark.usefixtures("server")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def name() -> str:
    """A deployment's name of this test alone, and its queue's."""
    return f"q-{uuid.uuid4().hex[:12]}"


def deploy(name: str, **options: Any) -> Any:
    return deployed.jot.deploy(name, queue=name, parameters={"path": "/dev/null", "name": "ada"}, **options)


def names_of(deployment: str) -> list[str]:
    return [schedule.name for schedule in find_schedules(deployment)]


def test_a_served_flow_is_started_by_its_schedule(processes: Processes, name: str, tmp_path: Path) -> None:
    path = tmp_path / "names"
    processes.worker("scheduled.py", name, str(path),)
    until(lambda: path.exists() and path.read_text().count("ada") >= 2)
    schedule = get_schedule(f"scheduled-jot/{name}")
    assert isinstance(schedule.schedule, Interval) and schedule.schedule.interval == 1.0
    handle = find_runs(f'deployment = "scheduled-jot/{name}" state = COMPLETED')[0]
    run = handle.run()
    assert "by-the-clock" in run.tags
    assert (run.schedule, run.fire_at is not None) == ("default", True)
    of_code, at_of_code = handle.result()
    assert (of_code, at_of_code) == (run.schedule, pytest.approx(run.fire_at, abs=1e-3)), "the code knows for which time it is"
    assert schedule.last_fire_at is not None and schedule.last_run_id
    delete_schedule(f"scheduled-jot/{name}")


def test_a_schedule_has_all_that_was_said_of_it(name: str) -> None:
    said = [
        Cron(
            "0 3 * * 1-5",
            name="nightly",
            timezone="Europe/Berlin",
            day_or=False,
            active=False,
            parameters={"name": "bea"},
            start_at=datetime(2030, 1, 1, tzinfo=BERLIN),
            end_at=datetime(2031, 1, 1, 0, 0, 0, 7, tzinfo=timezone.utc),
            jitter=90.5,
            catch_up="all",
            max_catch_up=7,
            catch_up_grace=timedelta(minutes=5),
            overlap="cancel_running",
            tags=["night"],
            queue="other",
            description="the books of the day",
        ),
        Interval(timedelta(hours=6), name="often", anchor_date=datetime(2030, 1, 1, 2, tzinfo=BERLIN), timezone=BERLIN),
        RRule("FREQ=WEEKLY;BYDAY=MO;BYHOUR=9", name="weekly"),
    ]
    made = deploy(name, schedules=said)
    assert [schedule.name for schedule in made.schedules] == ["nightly", "often", "weekly"]
    nightly, often, weekly = (get_schedule(made.name, each) for each in ("nightly", "often", "weekly"))
    spec = nightly.schedule
    assert (spec.cron, spec.timezone, spec.day_or, spec.active) == ("0 3 * * 1-5", "Europe/Berlin", False, False)
    assert (spec.parameters, spec.start_at, spec.end_at) == ({"name": "bea"}, said[0].start_at, said[0].end_at)
    assert (spec.jitter, spec.catch_up, spec.max_catch_up, spec.catch_up_grace) == (90.5, "all", 7, 300.0)
    assert (spec.overlap, spec.tags, spec.queue) == ("cancel_running", ("night",), "other")
    assert spec.description == "the books of the day"
    assert nightly.pause is not None and nightly.next_fire_at is None
    assert (often.schedule.interval, often.schedule.anchor_date) == (21_600.0, said[1].anchor_date)  # type: ignore[attr-defined]
    assert often.next_fire_at is not None and often.next_fire_at.astimezone(BERLIN).hour in (2, 8, 14, 20)
    assert weekly.schedule.rrule == "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9" and weekly.next_fire_at.hour == 9


def test_deploying_again_changes_what_is_different_alone(name: str, caplog: pytest.LogCaptureFixture) -> None:
    both = [Cron("0 3 * * *", name="nightly"), Interval(3600, name="hourly")]
    first = deploy(name, schedules=both)
    paused = pause_schedule(first.name, "hourly", reason="the source moves")
    again = deploy(name, schedules=both)
    assert (first.version, again.version) == (1, 1)
    assert again.schedules[0] == first.schedules[0], "it was not touched"
    assert again.schedules[1] == paused, "a pause stays"

    with caplog.at_level(logging.WARNING):
        deploy(name, schedules=[Cron("0 4 * * *", name="nightly", active=False)])
    left, goes_on = (record.getMessage() for record in caplog.records)
    assert f"`{first.name}` still has the schedules hourly" in left and "prune_schedules=True" in left
    assert "the schedule `nightly`" in goes_on and "pause_schedule() pauses it" in goes_on
    assert get_schedule(first.name, "nightly").schedule.cron == "0 4 * * *"
    assert deploy(name).schedules == () and names_of(first.name) == ["hourly", "nightly"], "none is said, all stay"

    deploy(name, schedules=[Cron("0 4 * * *", name="nightly")], prune_schedules=True)
    assert names_of(first.name) == ["nightly"], "what is no more in the list goes"
    deploy(name, schedules=[], prune_schedules=True)
    assert names_of(first.name) == []


def test_nothing_is_changed_by_a_deploy_with_a_schedule_that_does_not_fit(name: str) -> None:
    wrong = [Cron("@daily", name="right"), Cron("@daily", name="wrong", parameters={"name": 7})]
    told = f"the schedule `wrong` of `deployed-jot/{name}`.*parameters.name"
    with pytest.raises(InvalidArgument, match=told):
        deploy(name, schedules=wrong)
    with pytest.raises(NotFound):
        run_deployment(f"deployed-jot/{name}", timeout=0)
    first = deploy(name, schedules=wrong[:1])
    with pytest.raises(InvalidArgument, match=told):
        deploy(name, schedules=wrong, description="another one")
    assert deploy(name, schedules=wrong[:1]).version == first.version == 1


def test_one_rule_takes_the_place_of_another(name: str) -> None:
    for option, kind in [({"cron": "@daily"}, Cron), ({"interval": 60}, Interval), ({"rrule": "FREQ=DAILY"}, RRule)]:
        made = deploy(name, **option)
        (schedule,) = find_schedules(made.name)
        assert schedule.name == "default" and isinstance(schedule.schedule, kind)


def test_schedules_are_found_by_a_filter(name: str) -> None:
    schedules = [Cron("0 3 1 1 *", name="yearly", tags=["slow"]), Interval(86_400, name="daily")]
    made = deploy(name, schedules=schedules)

    def found(filter: str) -> list[str]:
        return [schedule.name for schedule in find_schedules(made.name, filter=filter)]

    assert found("") == ["daily", "yearly"]
    assert found("cron:*") == found("tags:slow AND NOT pause:*") == ["yearly"]
    pause_schedule(made.name, "daily", reason="holidays")
    assert found("pause.reason = holiday*") == ["daily"]
    with pytest.raises(InvalidArgument, match="did you mean `tags`"):
        found("tag:slow")


def test_runs_that_are_overdue_stay_when_it_is_deployed_again(name: str) -> None:
    made = deploy(name, schedules=[Interval(1, name="often")])
    until(lambda: get_schedule(made.name, "often").last_run_id)
    overdue = get_schedule(made.name, "often").last_run_id
    deploy(name, schedules=[], prune_schedules=True)
    deploy(name, schedules=[Cron("@yearly", name="often")])
    assert get_run(overdue).state.type == "SCHEDULED"


def test_pause_resume_and_delete_from_plain_and_async_code(name: str) -> None:
    made = deploy(name, interval=1)
    until(lambda: get_schedule(made.name).last_run_id)
    paused = pause_schedule(made.name, reason="holidays")
    assert (paused.pause.reason, paused.schedule.active, paused.next_fire_at) == ("holidays", False, None)

    async def in_a_loop() -> None:
        last = (await get_schedule(made.name)).last_fire_at
        assert last == (await get_schedule(made.name)).last_fire_at
        resumed = await resume_schedule(made.name)
        assert resumed.pause is None and resumed.next_fire_at > last
        assert [each.name for each in await find_schedules(made.name)] == ["default"]
        await delete_schedule(made.name)
        await delete_schedule(made.name, allow_missing=True)

    asyncio.run(in_a_loop())
    for gone in (get_schedule, pause_schedule, resume_schedule, delete_schedule):
        with pytest.raises(NotFound, match="`default`"):
            gone(made.name)
    assert put_schedule(made.name, Cron("@daily")).deployment == made.name
    assert made.name in {schedule.deployment for schedule in find_schedules()}
    with pytest.raises(NotFound, match="no deployment"):
        put_schedule(f"{made.name}-other", Cron("@daily"))


def test_a_preview_goes_over_the_days_on_which_clocks_change() -> None:
    def hours(schedule: Any, day: datetime) -> list[str]:
        fires = preview_schedule(schedule, after=day, count=3)
        return [fire.fire_at.astimezone(BERLIN).strftime("%d %H:%M") for fire in fires]

    half_past_two = Cron("30 2 * * *", timezone="Europe/Berlin")
    spring, autumn = datetime(2026, 3, 28, 12, tzinfo=BERLIN), datetime(2026, 10, 24, 12, tzinfo=BERLIN)
    assert hours(half_past_two, spring) == ["29 03:00", "30 02:30", "31 02:30"], "there is no half past two on the 29th"
    assert hours(half_past_two, autumn) == ["25 02:30", "26 02:30", "27 02:30"], "it is once on the 25th, not twice"
    daily = Interval(timedelta(days=1), anchor_date=datetime(2026, 1, 1, 9, tzinfo=BERLIN), timezone="Europe/Berlin")
    assert hours(daily, spring) == ["29 09:00", "30 09:00", "31 09:00"]
    assert hours(RRule("DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY"), autumn) == [
        "25 09:00",
        "26 09:00",
        "27 09:00",
    ]

    async def in_a_loop() -> int:
        return len(await preview_schedule(half_past_two, count=5))

    assert asyncio.run(in_a_loop()) == 5


def test_a_preview_of_one_that_is_there_has_its_jitter(name: str) -> None:
    made = deploy(name, schedules=[Cron("0 * * * *", name="hourly", jitter=600)])
    fires = preview_schedule(made.name, "hourly", count=20)
    late = {(fire.due_at - fire.fire_at).total_seconds() for fire in fires}
    assert len(fires) == 20 and len(late) > 1 and all(0 <= seconds <= 600 for seconds in late)
    assert preview_schedule(made.name, "hourly", count=20) == fires


def test_a_past_range_is_made_up_for_once(name: str) -> None:
    made = deploy(name, cron="0 0 * * *")
    days = {"start_at": datetime(2026, 1, 1, tzinfo=timezone.utc), "end_at": datetime(2026, 1, 4, tzinfo=timezone.utc)}
    would = backfill_schedule(made.name, **days, dry_run=True)
    assert (would.count, would.created_count, len(would.run_ids)) == (3, 3, 0)
    assert would.fires[0].fire_at == days["start_at"]
    with pytest.raises(TidegateError, match="3"):
        backfill_schedule(made.name, **days, expected_count=4)
    done = backfill_schedule(made.name, **days, expected_count=would.count)
    again = backfill_schedule(made.name, **days)
    assert (len(done.run_ids), again.count, again.created_count) == (3, 3, 0)
    runs = [get_run(run_id).run() for run_id in done.run_ids]
    assert [(run.schedule, run.fire_at) for run in runs] == [("default", fire.fire_at.timestamp()) for fire in would.fires]


def test_what_is_wrong_with_a_schedule_is_told_before_anything_is_changed(name: str) -> None:
    right = Cron("@daily", name="right")
    for wrong, told in [
        (Cron("0 61 * * *", name="late"), "at column 3, the hour `61`"),
        (Cron("0 3 * *", name="short"), "has 4 fields"),
        (Cron("0 3 * * *", timezone="Europe/Berln"), "`Europe/Berln` is no time zone"),
        (Cron("0 0 30 2 *", name="never"), "never fires"),
        (RRule("FREQ=SOMETIMES"), "FREQ"),
        (Interval(0.5), "1 s"),
        (Interval(60, jitter=timedelta(days=2)), "86400s"),
        (Cron("@daily", start_at=datetime(2031, 1, 1, tzinfo=BERLIN), end_at=datetime(2030, 1, 1, tzinfo=BERLIN)), "end_at"),
    ]:
        with pytest.raises(InvalidArgument, match=f"the schedule `{wrong.name}` of `deployed-jot/{name}`.*{told}"):
            deploy(name, schedules=[right, wrong])
        with pytest.raises(InvalidArgument, match=told):
            preview_schedule(wrong)
    with pytest.raises(NotFound):
        run_deployment(f"deployed-jot/{name}", timeout=0)
    with pytest.raises(InvalidArgument, match="parameters.repeat"):
        deploy(name, schedules=[Cron("@daily", parameters={"repeat": "often"})])


def test_wrong_words_are_told_where_they_are_written() -> None:
    naive = datetime(2026, 1, 1)
    for make, told in [
        (lambda: Cron(7), 'give a text such as "0 3'),  # type: ignore[arg-type]
        (lambda: Interval("1h"), "give the seconds between two times"),  # type: ignore[arg-type]
        (lambda: Interval(-1), "give the seconds between two times"),
        (lambda: RRule(" "), "give a text such as"),
        (lambda: Interval(60, anchor_date=naive), r"anchor_date=.*no time zone.*replace\(tzinfo=ZoneInfo"),
        (lambda: Cron("@daily", start_at=naive), "start_at=.*no time zone"),
        (lambda: Cron("@daily", end_at="2030-01-01"), "give a datetime"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", timezone=1), "the name of a zone"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", catch_up="some"), "one of skip, latest, all"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", overlap="no"), "one of allow, skip, queue, cancel_running"),  # type: ignore[arg-type]
        (lambda: Cron("@daily", max_catch_up=3), 'catch_up="all"'),
        (lambda: Cron("@daily", name="every day"), "A-Z a-z 0-9"),
        (lambda: Cron("@daily", jitter=-1), "from 0 on"),
        (lambda: Cron("@daily", tags="night"), "a list of words"),
        (lambda: Cron("@daily", parameters={"a": object()})._told(), "no JSON"),
        (lambda: preview_schedule("0 3 * * *", count=0), "from 1 to 1,000"),
        (lambda: preview_schedule(Cron("@daily"), after=naive), "datetime with a time zone"),
        (lambda: put_schedule("etl/nightly", "0 3 * * *"), "is no schedule"),  # type: ignore[arg-type]
        (lambda: backfill_schedule("etl/nightly", start_at=naive, end_at=naive), "start_at=.*time zone"),
    ]:
        with pytest.raises(InvalidArgument, match=told):
            make()  # type: ignore[no-untyped-call]


def test_a_deployment_is_told_one_way_or_the_other() -> None:
    for options, told in [
        ({"cron": "@daily", "interval": 60}, "cron= and interval=, and takes one of them"),
        ({"cron": "@daily", "schedules": [Interval(60)]}, "cron= and schedules="),
        ({"schedules": Cron("@daily")}, r"is no list: give one"),
        ({"schedules": ["0 3 * * *"]}, "'0 3 .* is no schedule"),
        ({"schedules": [Cron("@daily"), Interval(60)]}, "two schedules have the name 'default'"),
        ({"prune_schedules": True}, r"schedules=\[\]"),
    ]:
        with pytest.raises(InvalidArgument, match=told):
            deployed.jot.deploy("nightly", **options)
        with pytest.raises(InvalidArgument, match=told):
            deployed.jot.serve("nightly", **options)
    with pytest.raises(InvalidArgument, match=r'needs a name: jot.serve\("nightly", cron=...\)'):
        deployed.jot.serve(cron="@daily")
    with pytest.raises(TypeError, match="belongs to a deployment of one flow"):
        serve(deployed.jot, cron="@daily")


def test_the_command_line_shows_what_code_has_scheduled(name: str) -> None:
    made = deploy(name, cron="0 3 * * *")
    command = [os.environ["TIDEGATE_BIN"], "schedule", "ls", made.name]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "0 3 * * *" in out
