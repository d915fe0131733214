"""A worker of tasks alone, and the loggers of their code."""

import sys

from prefect import task
from prefect.logging import disable_run_logger, get_logger, get_run_logger
from prefect.task_worker import serve


@task
def brews(what: str) -> str:
    with disable_run_logger():
        get_run_logger().warning("not of %s", what)
    get_logger("kitchen").warning("of no run")
    get_run_logger().info("brewing %s", what)
    return what.upper()


if __name__ == "__main__":
    assert (get_logger().name, get_logger("kitchen").name) == ("prefect", "prefect.kitchen")
    if sys.argv[1] == "serve":
        serve(brews)
    else:
        print(brews.delay(sys.argv[1]).result(timeout=60))
