"""Schedules: they start the runs of a deployment at times of a clock.

    nightly.deploy("eu", schedules=[Cron("0 3 * * *", timezone="Europe/Berlin", catch_up="latest")])

Each function here works from plain and from async code: where an event loop runs it gives an awaitable, else it waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Mapping, Optional, Sequence, Union

from . import _core
from ._connection import client
from ._dual import Steps, answer, dual
from ._timetables import CatchUp, Cron, Interval, Overlap, RRule, Schedule, Span, micros, of_facts, time_of
from .errors import InvalidArgument

__all__ = [
    "Backfill",
    "CatchUp",
    "Cron",
    "DeployedSchedule",
    "Interval",
    "Overlap",
    "RRule",
    "Schedule",
    "ScheduleFire",
    "SchedulePause",
    "Span",
    "backfill_schedule",
    "delete_schedule",
    "find_schedules",
    "get_schedule",
    "pause_schedule",
    "preview_schedule",
    "put_schedule",
    "resume_schedule",
]


@dataclass(frozen=True)
class SchedulePause:
    """That a schedule does not fire."""

    #: Since when.
    paused_at: datetime
    #: Who paused it. Empty: that is not known.
    paused_by: str
    #: Why. May be empty.
    reason: str


@dataclass(frozen=True)
class DeployedSchedule:
    """A schedule of a deployment, as it was when it was asked for."""

    #: ``flow/deployment``.
    deployment: str
    #: What was said of it, its name among that. Its `active` tells how it is now.
    schedule: Schedule
    #: Set while it is paused.
    pause: Optional[SchedulePause]
    #: When it fires next. None: never, or it is paused.
    next_fire_at: Optional[datetime]
    #: When it fired last.
    last_fire_at: Optional[datetime]
    #: The run that it made then. Empty: none.
    last_run_id: str
    #: How many times were missed and made no run.
    missed_count: int
    #: Why the last time that came made no run. Empty: it made one.
    last_error: str
    #: When it was created.
    created_at: datetime
    #: When somebody changed it last.
    updated_at: datetime

    @property
    def name(self) -> str:
        """Its name within the deployment."""
        return self.schedule.name


@dataclass(frozen=True)
class ScheduleFire:
    """A time at which a schedule fires."""

    #: The time, by which it is known; in UTC.
    fire_at: datetime
    #: When its run is due: that, and its part of the jitter.
    due_at: datetime


@dataclass(frozen=True)
class Backfill:
    """What a backfill has made, or would make."""

    #: How many times the range has.
    count: int
    #: How many runs were made; with `dry_run`, would be.
    created_count: int
    #: The times, the earliest first: at most 100.
    fires: Sequence[ScheduleFire]
    #: The runs that were made, by their times.
    run_ids: Sequence[str]


def get_schedule(deployment: str, name: str = "default") -> Any:
    """A schedule of the deployment ``flow/deployment``, as a :class:`DeployedSchedule`."""
    return dual(answer(_schedules().get(deployment, name), deployed))


def find_schedules(deployment: str = "", *, filter: str = "") -> Any:
    """The schedules of a deployment, or of all, by the names of deployment and schedule: :class:`DeployedSchedule` each.

    :param filter: which of them, as `tidegate schedule ls --filter` takes it: ``"name = nightly* AND pause:*"``. Default: all.
    """
    return dual(answer(_schedules().find(deployment, filter), lambda found: [deployed(each) for each in found]))


def put_schedule(deployment: str, schedule: Schedule) -> Any:
    """Makes a schedule of a deployment, or has the one of its name say this; gives the :class:`DeployedSchedule`.

    Others of the deployment stay as they are. One that is there stays paused, or not, as it is.
    """
    told = [_checked(schedule)._told(deployment)]
    return dual(answer(_schedules().put(deployment, told, False), lambda put: deployed(put[0][0])))


def pause_schedule(deployment: str, name: str = "default", *, reason: str = "") -> Any:
    """Has a schedule fire no more until it is resumed; runs that exist go on. Gives the :class:`DeployedSchedule`."""
    return dual(answer(_schedules().pause(deployment, name, reason), deployed))


def resume_schedule(deployment: str, name: str = "default") -> Any:
    """Has a schedule fire again, from now on: the times of its pause are not made up for. Gives the
    :class:`DeployedSchedule`."""
    return dual(answer(_schedules().resume(deployment, name), deployed))


def delete_schedule(deployment: str, name: str = "default", *, allow_missing: bool = False) -> Any:
    """Takes a schedule away; its runs stay.

    :param allow_missing: that it is not there is no error.
    """
    return dual(answer(_schedules().delete(deployment, name, allow_missing), lambda _: None))


def preview_schedule(
    schedule: Union[Schedule, str], name: str = "default", *, count: int = 10, after: Optional[datetime] = None
) -> Any:
    """The next times of a schedule, :class:`ScheduleFire` each. It changes nothing.

    :param schedule: one that need not be anywhere yet, or the deployment ``flow/deployment`` of one that is there.
    :param name: its name, where the deployment is given.
    :param count: how many at most: 1 to 1,000. Fewer: it fires no more then.
    :param after: times after this one. Default: after now.
    """
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 1_000:
        raise InvalidArgument(f"preview_schedule(count={count!r}): it is a whole number from 1 to 1,000")
    since = None if after is None else _instant("preview_schedule", "after", after)
    told, deployment = (None, schedule) if isinstance(schedule, str) else (_checked(schedule)._told(), "")
    op = _schedules().preview(told, deployment, name if told is None else "", since, count)
    return dual(answer(op, _fires))


def backfill_schedule(
    deployment: str,
    name: str = "default",
    *,
    start_at: datetime,
    end_at: datetime,
    dry_run: bool = False,
    expected_count: Optional[int] = None,
) -> Any:
    """Makes the runs of a past range of times; gives a :class:`Backfill`. A time whose run was made before makes none
    again, so that a repeat does no harm.

    :param start_at: the first time of the range.
    :param end_at: the end of the range, which is not in it; at most now.
    :param dry_run: only tell what would be made.
    :param expected_count: how many times the range is to have, as `dry_run` has told; else nothing is made. At most 10,000.
    """
    since = _instant("backfill_schedule", "start_at", start_at)
    until = _instant("backfill_schedule", "end_at", end_at)
    op = _schedules().backfill(deployment, name, since, until, dry_run, expected_count)
    return dual(answer(op, lambda made: Backfill(made[0], made[1], _fires(made[2]), made[3])))


def put(
    deployment: str, schedules: Sequence[_core.NewSchedule], prunes: bool
) -> Steps[tuple[list[DeployedSchedule], list[str]]]:
    """Has a deployment have these schedules; gives them, and the names of those that were left beside them."""
    there, _, left = yield _schedules().put(deployment, list(schedules), prunes)
    return [deployed(each) for each in there], left


def deployed(facts: Mapping[str, Any]) -> DeployedSchedule:
    """A schedule as the core tells of it."""
    pause = facts["pause"]
    return DeployedSchedule(
        deployment=facts["deployment"],
        schedule=of_facts(facts["spec"]),
        pause=None if pause is None else SchedulePause(_time(pause[0]), pause[1], pause[2]),
        next_fire_at=time_of(facts["next_fire_at"]),
        last_fire_at=time_of(facts["last_fire_at"]),
        last_run_id=facts["last_run_id"],
        missed_count=facts["missed_count"],
        last_error=facts["last_error"],
        created_at=_time(facts["created_at"]),
        updated_at=_time(facts["updated_at"]),
    )


def _schedules() -> _core.Schedules:
    return _core.Schedules(client())


def _checked(schedule: Any) -> Schedule:
    if isinstance(schedule, Schedule):
        return schedule
    raise InvalidArgument(f'{schedule!r} is no schedule: give a Cron, an Interval or an RRule, such as Cron("0 3 * * *")')


def _fires(fires: Sequence[tuple[int, int]]) -> list[ScheduleFire]:
    return [ScheduleFire(_time(fire_at), _time(due_at)) for fire_at, due_at in fires]


def _time(since_1970: int) -> datetime:
    time = time_of(since_1970)
    assert time is not None
    return time


def _instant(function: str, name: str, time: Any) -> int:
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise InvalidArgument(
            f"{function}({name}={time!r}): give a datetime with a time zone, such as "
            "datetime(2026, 11, 1, tzinfo=timezone.utc)"
        )
    instant = micros(time)
    assert instant is not None
    return instant
