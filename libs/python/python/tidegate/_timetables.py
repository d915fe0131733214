"""What is said of a schedule: when it fires, and what its runs are given."""

from __future__ import annotations

import json
import re
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar, Iterable, Literal, Mapping, Optional, Sequence, Union
from zoneinfo import ZoneInfo

from . import _core
from ._json_values import as_json, as_json_object
from .errors import InvalidArgument

#: Seconds, or a span of time.
Span = Union[float, timedelta]
#: What becomes of times that were missed: nothing, the latest makes a run, or each does.
CatchUp = Literal["skip", "latest", "all"]
#: What becomes of a run whose time comes while an earlier one of the schedule is held.
Overlap = Literal["allow", "skip", "queue", "cancel_running"]

_CATCH_UPS = ("skip", "latest", "all")
_OVERLAPS = ("allow", "skip", "queue", "cancel_running")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Schedule:
    """What :class:`Cron`, :class:`Interval` and :class:`RRule` have in common."""

    _: KW_ONLY
    #: Its name within the deployment. 1 to 128 characters of ``A-Z a-z 0-9 . _ -``. By it a later deploy knows it again.
    name: str = "default"
    #: The zone of its times: a name of the IANA database, such as ``Europe/Berlin``. Default: UTC.
    timezone: Union[str, ZoneInfo] = ""
    #: False: it begins as a paused one. One that is there stays as it is: see ``pause_schedule``.
    active: bool = True
    #: Parameters of its runs by name, plain JSON; they go over those of the deployment.
    parameters: Optional[Mapping[str, Any]] = None
    #: No time before this one fires.
    start_at: Optional[datetime] = None
    #: No time at or after this one fires.
    end_at: Optional[datetime] = None
    #: Each run starts up to so much later, by a part of it that is always the same for a time: at most a day.
    jitter: Span = 0.0
    #: What becomes of times that were missed, as no scheduler was there.
    catch_up: CatchUp = "skip"
    #: With ``catch_up="all"``: the most runs that are made for missed times, the latest of them. Default: 100.
    max_catch_up: Optional[int] = None
    #: A time that is missed by no more than this is late and not missed. Default: a minute. At most 7 days.
    catch_up_grace: Optional[Span] = None
    #: What becomes of a run whose time comes while an earlier one of this schedule is held.
    overlap: Overlap = "allow"
    #: Words that its runs have beside those of the deployment.
    tags: Sequence[str] = ()
    #: The queue of its runs. Default: that of the deployment.
    queue: str = ""
    #: Job variables of its runs over those of the deployment, which has a work pool.
    job_variables: Optional[Mapping[str, Any]] = None
    #: What it is for, for people.
    description: str = ""

    #: The parameter of `serve` and `deploy` for one that has no more than its times.
    _kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not self._kind:
            raise InvalidArgument("a schedule is a Cron, an Interval or an RRule of tidegate.schedules")
        if isinstance(self.timezone, ZoneInfo):
            object.__setattr__(self, "timezone", self.timezone.key or "")
        if not isinstance(self.timezone, str):
            self._refuse("timezone", "give the name of a zone, such as 'Europe/Berlin', or a ZoneInfo")
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            self._refuse("name", "it has 1 to 128 characters of A-Z a-z 0-9 . _ -")
        self._check_word("catch_up", _CATCH_UPS)
        self._check_word("overlap", _OVERLAPS)
        for name in ("start_at", "end_at"):
            self._check_time(name)
        for name in ("jitter", "catch_up_grace"):
            value = getattr(self, name)
            if value is not None and _seconds(value) is None:
                self._refuse(name, "give seconds, from 0 on, or a timedelta")
        if isinstance(self.tags, str):
            self._refuse("tags", f"give a list of words: [{self.tags!r}]")
        if self.max_catch_up is not None:
            is_number = isinstance(self.max_catch_up, int) and not isinstance(self.max_catch_up, bool)
            if not is_number or not 1 <= self.max_catch_up <= 10_000:
                self._refuse("max_catch_up", "it is a whole number from 1 to 10,000")
            if self.catch_up != "all":
                self._refuse("max_catch_up", 'it is for catch_up="all": set that, or leave it out')

    def _check_word(self, name: str, words: Sequence[str]) -> None:
        if getattr(self, name) not in words:
            self._refuse(name, f"it is one of {', '.join(words)}")

    def _check_time(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if not isinstance(value, datetime):
            self._refuse(name, "give a datetime with a time zone")
        if value.utcoffset() is None:
            self._refuse(
                name,
                "it has no time zone, and is another moment in each: give it one, such as "
                f"{name}={value!r}.replace(tzinfo=ZoneInfo('Europe/Berlin'))",
            )

    def _check_text(self, name: str, example: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, str) or not value.strip():
            raise InvalidArgument(f"{type(self).__name__}({value!r}): give a text such as {example}")

    def _refuse(self, name: str, mend: str) -> None:
        raise InvalidArgument(f"{type(self).__name__}({name}={getattr(self, name)!r}): {mend}")

    def _rule(self) -> dict[str, Any]:
        raise NotImplementedError

    def _told(self, deployment: str = "") -> _core.NewSchedule:
        """As the server is told."""
        what = f"the schedule `{self.name}` of `{deployment}`" if deployment else f"the schedule `{self.name}`"
        return _core.NewSchedule(
            name=self.name,
            time_zone=str(self.timezone),
            start_at=micros(self.start_at),
            end_at=micros(self.end_at),
            jitter=_micros_of_span(self.jitter),
            parameters=json.dumps(as_json(dict(self.parameters), f"the parameters of {what}")) if self.parameters else "",
            catch_up=self.catch_up,
            max_catch_up=self.max_catch_up or 0,
            catch_up_grace=None if self.catch_up_grace is None else _micros_of_span(self.catch_up_grace),
            overlap=self.overlap,
            tags=list(self.tags),
            queue=self.queue,
            job_variables=as_json_object(self.job_variables, f"the job variables of {what}"),
            description=self.description,
            paused=not self.active,
            **self._rule(),
        )


@dataclass(frozen=True)
class Cron(Schedule):
    """Fires by a cron expression: ``Cron("0 3 * * 1-5", timezone="Europe/Berlin")``.

    A local time that does not exist fires at the next one that does; one that exists twice fires once. An expression that
    leaves out no hour (``*/15 * * * *``) follows each hour that passes.
    """

    #: Minute, hour, day of month, month, day of week; with seconds before them, where it has six fields; or ``@daily`` and
    #: the like.
    cron: str
    _: KW_ONLY
    #: Where day of month and day of week are both restricted, one of them is to match, as cron has it. False: both.
    day_or: bool = True

    _kind: ClassVar[str] = "cron"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_text("cron", '"0 3 * * *"')

    def _rule(self) -> dict[str, Any]:
        return {"kind": "cron", "rule": self.cron, "day_and": not self.day_or}


@dataclass(frozen=True)
class Interval(Schedule):
    """Fires each time after an interval: ``Interval(timedelta(hours=6))``, ``Interval(900)`` for seconds.

    Whole days are days of the zone's calendar, so that the hour stays.
    """

    #: Seconds, or a timedelta: 1 s to 366 days.
    interval: Span
    _: KW_ONLY
    #: One of its times. Default: when it was created.
    anchor_date: Optional[datetime] = None

    _kind: ClassVar[str] = "interval"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _seconds(self.interval):
            raise InvalidArgument(
                f"Interval({self.interval!r}): give the seconds between two times, such as 900, or a timedelta: 1 s to 366 days"
            )
        self._check_time("anchor_date")

    def _rule(self) -> dict[str, Any]:
        return {"kind": "interval", "every": _micros_of_span(self.interval), "anchor": micros(self.anchor_date)}


@dataclass(frozen=True)
class RRule(Schedule):
    """Fires by a recurrence rule of RFC 5545: ``RRule("FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9")``."""

    #: A rule, or lines of DTSTART, RRULE, RDATE, EXRULE, EXDATE. Without a DTSTART: from when it was created.
    rrule: str

    _kind: ClassVar[str] = "rrule"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_text("rrule", '"FREQ=WEEKLY;BYDAY=MO"')

    def _rule(self) -> dict[str, Any]:
        return {"kind": "rrule", "rule": self.rrule}


def of_facts(facts: Mapping[str, Any]) -> Schedule:
    """What the server tells of a schedule."""
    common: dict[str, Any] = {
        "name": facts["name"],
        "timezone": facts["time_zone"],
        "active": not facts["paused"],
        "parameters": json.loads(facts["parameters"]) if facts["parameters"] else None,
        "start_at": time_of(facts["start_at"]),
        "end_at": time_of(facts["end_at"]),
        "jitter": facts["jitter"] / 1e6,
        "catch_up": facts["catch_up"].replace("unspecified", "skip"),
        "max_catch_up": facts["max_catch_up"] if facts["catch_up"] == "all" and facts["max_catch_up"] else None,
        "catch_up_grace": None if facts["catch_up_grace"] is None else facts["catch_up_grace"] / 1e6,
        "overlap": facts["overlap"].replace("unspecified", "allow"),
        "tags": tuple(facts["tags"]),
        "queue": facts["queue"],
        "job_variables": json.loads(facts["job_variables"]) if facts["job_variables"] else None,
        "description": facts["description"],
    }
    if facts["kind"] == "cron":
        return Cron(facts["rule"], day_or=not facts["day_and"], **common)
    if facts["kind"] == "interval":
        return Interval(facts["every"] / 1e6, anchor_date=time_of(facts["anchor"]), **common)
    return RRule(facts["rule"], **common)


def of_options(
    what: str, cron: Optional[str], interval: Optional[Span], rrule: Optional[str], schedules: Optional[Iterable[Schedule]]
) -> Optional[list[Schedule]]:
    """The schedules that the options of `what` say; None: they say nothing of them."""
    given = {"cron": cron, "interval": interval, "rrule": rrule, "schedules": schedules}
    said = [name for name, value in given.items() if value is not None]
    if len(said) > 1:
        raise InvalidArgument(
            f"{what} has {' and '.join(f'{name}=' for name in said)}, and takes one of them: give several schedules as "
            'schedules=[Cron("0 3 * * *", name="nightly"), Interval(900, name="often")]'
        )
    if cron is not None:
        return [Cron(cron)]
    if interval is not None:
        return [Interval(interval)]
    if rrule is not None:
        return [RRule(rrule)]
    return None if schedules is None else _listed(what, schedules)


def _listed(what: str, schedules: Iterable[Schedule]) -> list[Schedule]:
    if isinstance(schedules, (Schedule, str, dict)) or not isinstance(schedules, Iterable):
        raise InvalidArgument(f'{what}: schedules={schedules!r} is no list: give one, such as [Cron("0 3 * * *")]')
    listed = list(schedules)
    names: set[str] = set()
    for schedule in listed:
        if not isinstance(schedule, Schedule):
            raise InvalidArgument(f"{what}: {schedule!r} is no schedule: give a Cron, an Interval or an RRule")
        if schedule.name in names:
            raise InvalidArgument(
                f"{what}: two schedules have the name {schedule.name!r}: give each a name of its own, such as "
                f'{type(schedule).__name__}(…, name="weekly"), by which a later deploy knows it again'
            )
        names.add(schedule.name)
    return listed


def micros(time: Optional[datetime]) -> Optional[int]:
    """Microseconds since 1970."""
    return None if time is None else (time - _EPOCH) // _MICROSECOND


def time_of(micros: Optional[int]) -> Optional[datetime]:
    """The time so many microseconds after 1970."""
    return None if micros is None else _EPOCH + micros * _MICROSECOND


def _seconds(span: Any) -> Optional[float]:
    """The seconds of a span; None where it is none."""
    if isinstance(span, timedelta):
        span = span.total_seconds()
    if isinstance(span, bool) or not isinstance(span, (int, float)) or not 0 <= span < 1e10:
        return None
    return float(span)


def _micros_of_span(span: Span) -> int:
    return span // _MICROSECOND if isinstance(span, timedelta) else round(span * 1e6)
