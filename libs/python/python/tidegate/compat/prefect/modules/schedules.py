"""`prefect.schedules`."""

from .._schedules import Cron, Interval, RRule, Schedule

__all__ = ["Cron", "Interval", "RRule", "Schedule"]
