"""What type checkers know of methods, maps and options: checked by mypy and pyright, never executed."""

from __future__ import annotations

from typing_extensions import assert_type

from tidegate import Future, FutureList, RunHandle, as_completed, flow, task, unmapped


class Greeter:
    @task
    def greet(self, name: str) -> str:
        return name

    @flow
    async def greet_all(self, names: list[str]) -> int:
        return len(names)


async def methods(greeter: Greeter) -> None:
    assert_type(greeter.greet("you"), str)
    assert_type(await greeter.greet_all(["you"]), int)
    assert_type(greeter.greet.submit("you"), Future[str])
    assert_type(greeter.greet.delay("you"), RunHandle[str])
    assert_type(Greeter.greet(greeter, "you"), str)
    greeter.greet(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@task
def add(a: int, b: int = 1) -> int:
    return a + b


def maps() -> None:
    assert_type(add.map([1, 2], unmapped(3)), FutureList[int])
    assert_type(add.map([1, 2])[0], Future[int])
    for handle in as_completed([add.delay(1)]):
        assert_type(handle, RunHandle[int])
