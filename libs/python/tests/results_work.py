"""What the workers of test_results.py serve: `python results_work.py queue`."""

from __future__ import annotations

import dataclasses
import sys
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from tidegate import get_run_logger, serve, task


class Color(Enum):
    RED = "red"


class Order(BaseModel):
    id: UUID
    total: Decimal
    placed_at: datetime


@dataclasses.dataclass
class Point:
    x: float
    color: Color


#: One value of each kind that is JSON with a type.
TYPED: dict[str, Any] = {
    "model": Order(
        id=UUID(int=7), total=Decimal("1.10"), placed_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)
    ),
    "dataclass": Point(1.5, Color.RED),
    "dataclasses": [Point(1.5, Color.RED), Point(2, Color.RED)],
    "by name": {"a": Color.RED},
    "enum": Color.RED,
    "time": datetime(2026, 1, 2, 3, 4, 5, 678),
    "path": Path("/tmp/x"),
}


@task
def typed(name: str) -> Any:
    return TYPED[name]


@task(result_serializer="compressed/json")
def compressed(n: int) -> list[str]:
    return ["the same again"] * n


@task(result_serializer="pickle")
def pickled() -> list[int]:
    return [1, 2]


@task(persist_result=False)
def secret() -> str:
    return "for the caller alone"


@task(log_prints=True)
def says(text: str) -> None:
    get_run_logger().info(text)
    get_run_logger().info("two\\nlines")
    print("said", text)


if __name__ == "__main__":
    import results_work as this  # under the name by which others import it

    serve(this.typed, this.compressed, this.pickled, this.secret, this.says, queues=[sys.argv[1]])
