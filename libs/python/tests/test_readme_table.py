"""The tests that the README names are there."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import HERE

ROOT = HERE.parents[2]
#: What the README calls them, where that is not their name.
SHORT = {"local": "test_local_runs", "e2e": "test_end_to_end", "deployments": "test_deployments", "compat": "compat/test_prefect"}


def place_of(file: str, last: Path) -> Path:
    """The file that the table means by `file`; one without a folder is beside the `last` one."""
    if file.startswith("libs/"):
        return ROOT / file
    if file.startswith("system/"):
        return ROOT / "integration-tests" / "tests" / file
    if file.endswith(".rs"):
        return last.parent / file
    return HERE / f"{SHORT.get(file, file.removesuffix('.py'))}.py"


def test_the_table_of_what_prefect_users_know_names_tests_that_are_there() -> None:
    table = (HERE.parent / "README.md").read_text().split("| row | what | test |", 1)[1].split("\n\n", 1)[0]
    wrong: list[str] = []
    n_tests, last = 0, HERE
    for row in table.splitlines()[2:]:
        for named in re.findall(r"`([^`]+)`", row.rsplit(" | ", 1)[1]):
            file, _, test = named.rpartition(": ") if not named.endswith((".py", ".rs")) else (named, "", "")
            if file:
                last = place_of(file, last)
            n_tests += 1
            if not last.is_file() or not re.search(rf"\b(def|fn) {test}\b", last.read_text()):
                wrong.append(f"{row.split(' | ')[0]}: {named}")
    assert n_tests > 100 and wrong == []
