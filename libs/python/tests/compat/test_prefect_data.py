"""Artifacts and variables, in programs written for Prefect."""

from __future__ import annotations

import pytest

from conftest import Processes
from running import run

pytestmark = pytest.mark.usefixtures("server")


def test_artifacts_and_variables(processes: Processes) -> None:
    assert run(processes, "data").splitlines() == [
        "True True",
        "{'is': 42} 1",
        "43",
        "is there",
        "True None",
    ]
