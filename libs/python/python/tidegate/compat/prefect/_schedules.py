"""Schedules as Prefect's code says them, made into Tidegate's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone as time_zone
from typing import Any, Iterable, Mapping, Optional, Union
from zoneinfo import ZoneInfo

from ... import schedules as native

#: What `serve` and `deploy` take to say when; one of them.
OPTIONS = ("interval", "cron", "rrule", "schedule", "schedules")


@dataclass(frozen=True)
class Schedule:
    """When a deployment starts its runs: what :func:`Cron`, :func:`Interval` and :func:`RRule` make."""

    interval: Optional[timedelta] = None
    cron: Optional[str] = None
    rrule: Optional[str] = None
    timezone: Optional[str] = None
    anchor_date: Optional[datetime] = None
    day_or: bool = True
    active: Optional[bool] = True
    parameters: dict[str, Any] = field(default_factory=dict)
    slug: Optional[str] = None


def Cron(
    cron: str,
    /,
    timezone: Optional[str] = None,
    day_or: bool = True,
    active: Optional[bool] = True,
    parameters: Optional[dict[str, Any]] = None,
    slug: Optional[str] = None,
) -> Schedule:
    """By a cron expression."""
    return Schedule(
        cron=cron, timezone=timezone, day_or=day_or, active=active, parameters=parameters or {}, slug=slug
    )


def Interval(
    interval: Union[float, timedelta],
    /,
    anchor_date: Optional[datetime] = None,
    timezone: Optional[str] = None,
    active: Optional[bool] = True,
    parameters: Optional[dict[str, Any]] = None,
    slug: Optional[str] = None,
) -> Schedule:
    """Each time after an interval: seconds, or a timedelta."""
    return Schedule(
        interval=_span(interval),
        anchor_date=anchor_date,
        timezone=timezone,
        active=active,
        parameters=parameters or {},
        slug=slug,
    )


def RRule(
    rrule: str,
    /,
    timezone: Optional[str] = None,
    active: Optional[bool] = True,
    parameters: Optional[dict[str, Any]] = None,
    slug: Optional[str] = None,
) -> Schedule:
    """By a recurrence rule of RFC 5545."""
    return Schedule(rrule=rrule, timezone=timezone, active=active, parameters=parameters or {}, slug=slug)


@dataclass(frozen=True)
class CronSchedule:
    """By a cron expression."""

    cron: str
    timezone: Optional[str] = None
    day_or: bool = True


@dataclass(frozen=True)
class IntervalSchedule:
    """Each time after an interval: seconds, or a timedelta."""

    interval: Union[float, timedelta]
    anchor_date: Optional[datetime] = None
    timezone: Optional[str] = None


@dataclass(frozen=True)
class RRuleSchedule:
    """By a recurrence rule of RFC 5545."""

    rrule: str
    timezone: Optional[str] = "UTC"


def wanted(options: dict[str, Any]) -> Optional[list[native.Schedule]]:
    """The schedules that the options of a deployment say, which are taken out of them; None: they say nothing of any."""
    given = {name: options.pop(name) for name in OPTIONS if name in options}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) > 1:
        raise ValueError(
            f"a deployment has {' and '.join(f'{name}=' for name in given)}: only one of {', '.join(OPTIONS)} can be given; "
            "several schedules are a list in schedules="
        )
    if not given:
        return None
    ((name, value),) = given.items()
    if name in ("schedule", "schedules"):
        items = [value] if name == "schedule" else list(value)
    else:
        make: Any = {"interval": Interval, "cron": Cron, "rrule": RRule}[name]
        is_many = isinstance(value, Iterable) and not isinstance(value, str)
        items = [make(each) for each in (value if is_many else [value])]
    made = [_native(item) for item in items]
    # A list without slugs is known again by its order.
    unnamed = [f"default-{n}" if n > 1 else "default" for n in range(1, len(made) + 1)]
    return [replace(each, name=slug or unnamed[n]) for n, (each, slug) in enumerate(made)]


def _native(item: Any) -> tuple[native.Schedule, Optional[str]]:
    """A schedule, and its slug."""
    if isinstance(item, Mapping):  # what a file or a form says: the schedule, and what is beside it
        inner = item.get("schedule")
        beside = {name: item[name] for name in ("active", "parameters", "slug") if name in item}
        unknown = sorted(item.keys() - {"schedule", "active", "parameters", "slug"})
        if unknown:
            raise TypeError(f"a schedule has no `{unknown[0]}` here; it has schedule, active, parameters and slug")
        item = replace(_common(inner), **beside)
    schedule = _common(item)
    zone = schedule.timezone or ""
    common: dict[str, Any] = {
        "timezone": zone,
        "active": schedule.active is not False,
        "parameters": schedule.parameters or None,
    }
    if schedule.cron is not None:
        return native.Cron(schedule.cron, day_or=schedule.day_or, **common), schedule.slug
    if schedule.rrule is not None:
        return native.RRule(schedule.rrule, **common), schedule.slug
    if schedule.interval is not None:
        anchor = schedule.anchor_date
        if anchor is not None and anchor.utcoffset() is None:
            anchor = anchor.replace(tzinfo=ZoneInfo(zone) if zone else time_zone.utc)
        return native.Interval(schedule.interval, anchor_date=anchor, **common), schedule.slug
    raise ValueError("a schedule needs one of cron, interval and rrule")


def _common(item: Any) -> Schedule:
    if isinstance(item, Schedule):
        return item
    if isinstance(item, CronSchedule):
        return Schedule(cron=item.cron, timezone=item.timezone, day_or=item.day_or)
    if isinstance(item, IntervalSchedule):
        return Schedule(interval=_span(item.interval), anchor_date=item.anchor_date, timezone=item.timezone)
    if isinstance(item, RRuleSchedule):
        return Schedule(rrule=item.rrule, timezone=item.timezone)
    raise TypeError(f"{item!r} is no schedule: give one of prefect.schedules, such as Cron('0 3 * * *')")


def _span(interval: Any) -> timedelta:
    if isinstance(interval, timedelta):
        return interval
    if isinstance(interval, (int, float)) and not isinstance(interval, bool):
        return timedelta(seconds=interval)
    raise TypeError(f"interval={interval!r}: give seconds, or a timedelta")
