"""A worker for flows and tasks in one process (thread S4)."""

import time
from datetime import datetime
from pathlib import Path

from prefect import flow, get_run_logger, serve, task


@task(retries=2, retry_delay_seconds=0.01)
def resize(path: str, width: int = 100) -> str:
    get_run_logger().info("resizing %s", path)
    return f"{path}@{width}"


@task
async def resize_async(path: str) -> str:
    return f"{path}@async"


@task
def year(at: datetime) -> int:
    return at.year


@flow(log_prints=True)
def report(n: int, title: str = "report") -> dict:
    print(f"{title} {n}")
    return {"title": title, "paths": [future.result() for future in resize.map([f"{i}.png" for i in range(n)])]}


@flow
def hangs(marker: str) -> str:
    """Hangs the first time that it is executed."""
    path = Path(marker)
    is_first = not path.exists()
    path.write_text("begun")
    while is_first:
        time.sleep(0.05)
    return "done by another"


@flow
def waits(marker: str) -> None:
    Path(marker).write_text("begun")
    while True:
        time.sleep(0.05)


if __name__ == "__main__":
    serve(report, hangs, waits, resize, resize_async, year, limit=20)
