"""Flows and tasks as methods, and what is called with wrong arguments."""

from prefect import Flow, Task, flow, task
from prefect.exceptions import ParameterTypeError, SignatureMismatchError
from pydantic import BaseModel


class Item(BaseModel):
    name: str
    price: float = 0.0


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @task
    def stock(self, n: int) -> str:
        return f"{self.name} {n}"

    @flow
    def open(self, n: int = 1) -> list:
        return [self.stock(n), self.stock.submit(n + 1).result()]


@flow
def sell(item: Item, n: int) -> str:
    return f"{n} of {item.name} at {item.price}"


@task
def anything(n: int) -> str:
    return f"{n!r}"


if __name__ == "__main__":
    print(Shop("corner").open(n=2))
    print(sell({"name": "tea", "price": "2.5"}, "3"))
    for wrong in ({"item": {"name": "tea"}, "n": "many"}, {"item": {"name": "tea"}}):
        try:
            sell(**wrong)
        except (ParameterTypeError, SignatureMismatchError) as error:
            print(type(error).__name__, "sell" in str(error))
    print(anything("as it is"), isinstance(sell, Flow), isinstance(anything, Task), sell.name, anything.with_options(retries=3).retries)
