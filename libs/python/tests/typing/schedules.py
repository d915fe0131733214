"""What type checkers know of schedules: checked by mypy and pyright, never executed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from tidegate import Cron, Interval, RRule, flow
from tidegate.schedules import Schedule, preview_schedule


@flow
def report(day: str) -> None: ...


def right() -> list[Schedule]:
    return [
        Cron("0 3 * * *", timezone=ZoneInfo("Europe/Berlin"), catch_up="all", max_catch_up=7, overlap="queue"),
        Interval(timedelta(hours=6), anchor_date=datetime(2026, 1, 1, tzinfo=timezone.utc), jitter=60),
        RRule("FREQ=DAILY", parameters={"day": "monday"}, active=False),
    ]


def wrong() -> None:
    Cron()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    Cron("0 3 * * *", catch_up="some")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Interval("1h")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Cron("0 3 * * *", "nightly")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    preview_schedule(7)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
