"""States as they are asked, given and returned (threads S1, S2)."""

from prefect import State, allow_failure, flow, get_client, task
from prefect.client.schemas.objects import StateType
from prefect.exceptions import CancelledRun, FailedRun, UpstreamTaskError
from prefect.states import Cancelled, Completed, Failed, get_state_exception, get_state_result, raise_state_exception


@task
def fine() -> int:
    return 1


@task
def broken():
    raise ValueError("broken")


@task(timeout_seconds=0.1)
def endless():
    while True:
        pass


@task
def look(outcome) -> str:
    return f"looked at {outcome!r}"


@flow
def returns_data():
    return Completed(message="all is well", data=7)


@flow
def returns_failure():
    return Failed(message="not today")


@flow
def returns_states():
    return [fine(return_state=True), broken(return_state=True)]


@flow
def returns_futures():
    return [fine.submit(), fine.submit()]


@flow
def returns_future():
    return fine.submit()


@flow
def is_cancelled():
    return Cancelled(message="no need")


@flow
def main():
    state: State = broken(return_state=True)
    assert state.is_failed() and state.is_final() and state.type == StateType.FAILED
    assert isinstance(get_state_result(state, raise_on_failure=False), ValueError)
    assert isinstance(get_state_exception(state), ValueError)
    try:
        raise_state_exception(state)
    except ValueError as error:
        print("raised", error)
    print(returns_data(), returns_future(), [state.result() for state in returns_futures()])
    for failing in (returns_failure, returns_states):
        try:
            failing()
        except FailedRun as error:
            print("failed:", error)
    try:
        is_cancelled()
    except CancelledRun:
        print("cancelled")
    try:
        endless()
    except TimeoutError:
        print("out of time", endless.submit(return_state=True).name)
    upstream = broken.submit()
    dependent = fine.submit(wait_for=[upstream])
    tolerant = look.submit(allow_failure(upstream))
    print(tolerant.result())
    dependent.wait()
    print(dependent.state.name, dependent.state.is_failed())
    with get_client(sync_client=True) as client:
        kept = client.read_task_run(dependent.task_run_id).state
    print(kept.name, kept.is_failed(), isinstance(get_state_exception(kept), UpstreamTaskError))
    print(broken.submit(return_state=True).result(raise_on_failure=False))


if __name__ == "__main__":
    main()
