"""A test of a flow, as pytest would run it."""

from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness


@task
def add(a: int, b: int) -> int:
    return a + b


@flow
def total(numbers: list[int]) -> int:
    return add.submit(*numbers).result()


def test_total() -> None:
    with prefect_test_harness():
        state = total([1, 2], return_state=True)
        assert state.is_completed() and state.result() == 3
        print("run", state.state_details.flow_run_id is not None)


if __name__ == "__main__":
    test_total()
