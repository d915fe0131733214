"""What the workers of the authoring tests serve: `python work_authoring.py [queue]`."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from tidegate import serve, task

current_queue = sys.argv[1] if len(sys.argv) > 1 else "default"


class Color(Enum):
    RED = "red"


class Item(BaseModel):
    name: str
    price: float


@dataclass
class Order:
    items: list[Item]
    due: date


@task
def describe(
    order: Order, at: datetime, color: Color, key: UUID, path: Path, *sizes: tuple[int, int], **counts: set[int]
) -> list[Any]:
    """What it is called with, by the types that it finds."""
    values = [order, order.items[0], at, color, key, path, sizes[0], counts["some"]]
    return [f"{type(value).__name__} {value}" for value in values]


@task
def add_exactly(a: int, b: int = 1) -> str:
    return f"{a!r} {b!r}"


class Greeter:
    """Its instances travel."""

    def __init__(self, word: str) -> None:
        self.word = word

    @task
    def greet(self, name: str) -> str:
        return f"{self.word}, {name}"

    @task
    @classmethod
    def kind_of(cls, n: int) -> str:
        return f"{cls.__name__} {n}"

    @task
    @staticmethod
    def plain(n: int) -> int:
        return n + 1


class Locked:
    """Its instances do not."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    @task
    def add(self, n: int) -> int:
        return n


if __name__ == "__main__":
    serve(
        describe, add_exactly, Greeter.greet, Greeter.kind_of, Greeter.plain,
        queues=[current_queue],
        drain_seconds=5,
    )
