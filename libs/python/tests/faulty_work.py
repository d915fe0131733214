"""What the workers of `test_faults.py` serve: `python faulty_work.py QUEUE`."""

import sys

from pydantic import BaseModel, field_validator

from tidegate import flow, serve, task


class Picky(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def check(cls, n: int) -> int:
        raise KeyError("no such price list")  # which pydantic does not make an error of its own


@task
def checks(it: Picky) -> None: ...


@task
async def checks_async(it: Picky) -> None: ...


@task(execution="process")
def checks_in_process(it: Picky) -> None: ...


class Mute(Exception):
    def __str__(self) -> str:
        return self.text  # type: ignore[attr-defined, no-any-return]


@task
def raises_mute() -> None:
    raise Mute


@task
async def raises_mute_async() -> None:
    raise Mute


@flow
def raises_mute_in_process() -> None:
    raise Mute


if __name__ == "__main__":
    functions = [checks, checks_async, checks_in_process, raises_mute, raises_mute_async, raises_mute_in_process]
    serve(*functions, queues=[sys.argv[1]])
