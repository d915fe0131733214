"""A graph of tasks, of which nothing is awaited (thread S1)."""

from prefect import flow, get_run_logger, task
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner


@task
def extract(name: str) -> list[int]:
    get_run_logger().info("extracting %s", name)
    return [1, 2, 3]


@task
def transform(rows: list[int]) -> list[int]:
    return [10 * row for row in rows]


@task
def load(left: list[int], right: list[int]) -> int:
    return sum(left) + sum(right)


@task
def notify() -> str:
    return "told"


@flow(name="graph", log_prints=True, task_runner=ThreadPoolTaskRunner(max_workers=3))
def graph() -> str:
    a = extract.submit("a")
    b, c = transform.submit(a), transform.submit(a)
    loaded = load.submit(b, c)
    told = notify.submit(wait_for=[loaded])
    done, not_done = wait([b, c])
    print(f"done {len(done)}, not done {len(not_done)}")
    print("loaded", loaded.result())
    transform.submit(b)  # nobody asks for it
    return told.result()


if __name__ == "__main__":
    print(graph())
