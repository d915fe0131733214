"""Hooks and retry conditions in the forms that people give them (threads S3, S4)."""

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectException


def by_position(f, r, s) -> None:
    print("by position:", f.name, r.run_count, s.name)


def by_annotated_position(flow, flow_run: FlowRun, state: State) -> None:
    print("by names:", flow.name, flow_run.parameters, state.is_failed(), repr(state.result(raise_on_failure=False)))


def by_two(fr, state) -> None:
    print("two:", fr.parameters, state.type.value)


def with_values(result, parameters) -> None:
    print("values:", result, parameters)


async def asynchronous(run, exception=None) -> None:
    print("async:", run.state.name, repr(exception))


def broken(run, state) -> None:
    raise RuntimeError("a hook of no use")


@flow(on_completion=[by_position, with_values], on_failure=by_annotated_position, on_running=[by_two])
def doubles(n: int) -> int:
    if n < 0:
        raise ValueError("negative")
    return 2 * n


@doubles.on_failure
def by_decorator(flow_run, state) -> None:
    print("decorated:", state.message)


@task(on_failure=[asynchronous, broken], on_completion=[asynchronous])
async def fetch(n: int) -> int:
    if n < 0:
        raise KeyError(n)
    return n


attempts: list[str] = []


@task(retries=3, retry_condition_fn=lambda error: not isinstance(error, ValueError))
def by_exception(kind: type) -> None:
    attempts.append(kind.__name__)
    raise kind("no")


def is_worth_it(task, task_run, state) -> bool:
    try:
        state.result()
    except ConnectionError:
        return task_run.run_count < 3
    except Exception:
        return False
    return True


@task(retries=5, retry_condition_fn=is_worth_it)
def by_state(kind: type) -> None:
    attempts.append(kind.__name__)
    raise kind("no")


def tried(task, kind: type) -> int:
    attempts.clear()
    task(kind, return_state=True)
    return len(attempts)


@flow
def main() -> None:
    print(doubles(2))
    try:
        doubles(-1)
    except ValueError:
        pass
    fetch.submit(1).result()
    fetch.submit(-1).wait()
    print(tried(by_exception, ValueError), tried(by_exception, OSError))
    print(tried(by_state, ValueError), tried(by_state, ConnectionError))
    get_run_logger().info("done")


if __name__ == "__main__":
    main()
    try:
        flow(on_failure=[lambda one: None])(main.fn)
    except TypeError as error:
        print("refused:", "forms of a hook" in str(error))
