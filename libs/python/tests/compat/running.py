"""Scripts, run by ``python -m tidegate.compat.prefect``, and the runs that they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conftest import Processes
from tidegate._connection import block, client

SCRIPTS = Path(__file__).parent / "scripts"
#: What a program that is not started by the command does first.
INSTALLED = f"import sys, tidegate.compat.prefect; tidegate.compat.prefect.install(); sys.path.append({str(SCRIPTS)!r})"


def run(processes: Processes, name: str, *arguments: str) -> str:
    """Runs the script `name`; its output."""
    return processes.run("-m", "tidegate.compat.prefect", str(SCRIPTS / f"{name}.py"), *arguments)


def runs(filter: str) -> list[Any]:
    found, _ = block(client().list_runs(filter, 1000, ""))
    return list(found)


def states(filter: str) -> dict[str, list[str]]:
    """The states of runs, by the names of their functions."""
    by_name: dict[str, list[str]] = {}
    for run in runs(filter):
        by_name.setdefault(run.name, []).append(run.state[0])
    return by_name
