"""Fixtures. End-to-end tests need the server's binary in TIDEGATE_BIN; without it they are skipped and say so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

#: As the package's entry point says, also where these tests run without it being installed.
pytest_plugins = ["tidegate._pytest"]

HERE = Path(__file__).parent
#: How long anything may take before a test gives up, in seconds.
PATIENCE = 60


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A server of this session alone; its address, also in the environment."""
    binary = os.environ.get("TIDEGATE_BIN")
    if not binary:
        pytest.skip("TIDEGATE_BIN does not name the server's binary")
    process = subprocess.Popen(
        [binary, "dev", "--ephemeral", "--port", "0"], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    address = ""
    for line in process.stdout:
        if line.startswith("listening on "):
            address = line.removeprefix("listening on ").strip()
            break
    assert address, "the server ended before it listened"
    threading.Thread(target=process.stdout.read, daemon=True).start()
    os.environ["TIDEGATE_ADDRESS"] = address
    yield address
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    finally:
        process.kill()


def until(condition: Callable[[], Any]) -> Any:
    """Waits for something that only another process can tell."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


class Processes:
    """Starts Python processes, and leaves none behind."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, own_group: bool = False) -> subprocess.Popen[str]:
        """Runs `python arguments…`, with `own_group` in a process group of its id."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=HERE,
            start_new_session=own_group,
        )
        self._started.append(process)
        return process

    def worker(self, *arguments: str, own_group: bool = False) -> subprocess.Popen[str]:
        """As `start`, and waits until the worker says that it serves."""
        process = self.start(*arguments, own_group=own_group)
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if " serves " in line:
                threading.Thread(target=process.stderr.read, daemon=True).start()
                return process
        raise AssertionError(f"the worker ended: {''.join(lines)}")

    def run(self, *arguments: str) -> str:
        """Runs `python arguments…` to its end; its standard output."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        return out

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait(PATIENCE)


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Python processes of one test."""
    started = Processes()
    yield started
    started.end()
