"""Subflows that run at the same time, with futures between them (thread S1)."""

import threading

from prefect import flow, task, unmapped
from prefect.futures import as_completed

both = threading.Barrier(2, timeout=30)


@flow(flow_run_name="part-{name}")
def part(name: str, before: int = 0) -> int:
    return before + 1


@flow
def meets() -> str:
    both.wait()
    return "met"


@task
def meets_in_a_task():
    return meets()


@task
def scale(n: int, by: int) -> int:
    return n * by


@flow
def whole():
    first = part.submit("a")
    second, third = part.submit("b", first), part.submit("c", before=first)
    last = part("d", second)
    print("parts", last, third.result())
    print(sorted(future.result() for future in as_completed([meets.submit(), meets.submit()])))
    wrapped = [meets_in_a_task.submit() for _ in range(2)]
    print([future.result() for future in wrapped])
    mapped = scale.map([1, 2, 3], by=unmapped(10))
    print(mapped.result())
    print(scale.map(mapped, by=2).result())
    return last


if __name__ == "__main__":
    print("whole", whole())
