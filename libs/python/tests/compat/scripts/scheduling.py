"""All the ways to say when."""

import sys
from datetime import datetime, timedelta
from pathlib import Path

from prefect import flow
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.deployments import run_deployment
from prefect.schedules import Cron, Interval, RRule


@flow(log_prints=True)
def clockwork(folder: str, word: str = "tick") -> str:
    (Path(folder) / word).write_text("done")
    return word.upper()


def make(name: str, **options) -> None:
    clockwork.to_deployment(name, parameters={"folder": folder}, **options).apply()


if __name__ == "__main__":
    folder, pool = sys.argv[1:]
    make(
        "lists",
        schedules=[
            Cron("0 3 * * *", timezone="Europe/Berlin", slug="nightly", parameters={"word": "night"}),
            Interval(timedelta(hours=6), anchor_date=datetime(2030, 1, 1, 2), timezone="Europe/Berlin"),
            RRule("FREQ=WEEKLY;BYDAY=MO", active=False),
            {"schedule": CronSchedule(cron="0 4 1 * 1", day_or=False), "parameters": {"word": "monthly"}},
            RRuleSchedule(rrule="FREQ=DAILY"),
        ],
    )
    make("crons", cron=["0 1 * * *", "0 2 * * *"])
    make("crons", schedule=IntervalSchedule(interval=timedelta(minutes=5)))
    make("paused", interval=60, paused=True)
    make("resumed", interval=60, paused=True)
    make("resumed", interval=60, paused=False)
    for wrong in ({"cron": "@daily", "interval": 3}, {"cron": "0 61 * * *"}, {"cron": "@daily", "triggers": ["any"]}):
        try:
            make("wrong", **wrong)
        except (NotImplementedError, ValueError) as error:
            print(error)

    print(clockwork.deploy("pooled", work_pool_name=pool, cron="0 3 * * *", parameters={"folder": folder}) is not None)
    run = run_deployment("clockwork/pooled", parameters={"word": "pooled"})
    print(run.state.name, run.state.result())
    try:
        clockwork.deploy("pooled", cron="0 3 * * *")
    except ValueError as error:
        print(error)
