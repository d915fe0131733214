"""A flow that waits for a person."""

import sys
from typing import Optional

from prefect import flow, pause_flow_run, resume_flow_run
from prefect.exceptions import NotPausedError
from prefect.input import RunInput


class Answer(RunInput):
    name: str
    age: Optional[int] = None


@flow
def asks() -> str:
    answer = pause_flow_run(wait_for_input=Answer, timeout=120)
    pause_flow_run(timeout=120)
    return f"{answer.name} is {answer.age}"


@flow
def quick() -> None:
    pass


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(asks())
    else:
        resume_flow_run(sys.argv[1], run_input={"name": "Ada", "age": "36"} if sys.argv[2] == "answer" else None)
        try:
            resume_flow_run(quick(return_state=True).state_details.flow_run_id)
        except NotPausedError:
            print("not paused")
