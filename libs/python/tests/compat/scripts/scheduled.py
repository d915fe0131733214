"""A flow that starts by the clock, and is served."""

import sys
from pathlib import Path

from prefect import flow


@flow
def tick(folder: str, word: str = "tick") -> None:
    with open(Path(folder) / "ticks", "a") as file:
        file.write(f"{word}\n")


if __name__ == "__main__":
    tick.serve(name="every-second", interval=1, parameters={"folder": sys.argv[1]}, tags=["clock"])
