"""Tasks in processes, and the death of one (thread S1)."""

import os

from prefect import flow, task
from prefect.exceptions import CrashedRun
from prefect.task_runners import ProcessPoolTaskRunner


@task
def where() -> int:
    return os.getpid()


@task
async def where_async() -> int:
    return os.getpid()


@task
def dies() -> None:
    os._exit(7)


@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def main():
    print(where.submit().result() != os.getpid(), where_async.submit().result() != os.getpid())
    future = dies.submit()
    try:
        future.result()
    except CrashedRun as error:
        print("crashed", "7" in str(error), future.state.is_crashed())
    print(where() == os.getpid())


if __name__ == "__main__":
    main()
