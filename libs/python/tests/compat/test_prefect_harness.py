"""Tests that were written for Prefect bring a server of their own."""

from __future__ import annotations

import pytest

from conftest import Processes
from running import run


def test_a_test_has_a_server_of_its_own(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_ADDRESS", "http://127.0.0.1:1")
    assert run(processes, "harness") == "run True\n"
