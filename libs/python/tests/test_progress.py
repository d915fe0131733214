"""The line on a terminal that tells how far many runs are."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import HERE, PATIENCE

PROGRAM = """
import os, sys
from tidegate import flow, gather, task, wait

folder, how = sys.argv[1:]

@task
def step(n):
    if n == 0:
        raise ValueError("no")
    if n > 2:
        open(os.path.join(folder, "go")).read()  # a pipe: it waits for a writer
    return n

@flow
def many():
    futures = [step.submit(n) for n in range(5)] if how == "wait" else step.map(range(5))
    if how == "wait":
        wait(futures)
    return [future.result(raise_on_failure=False) for future in futures][1:]

print(many())
"""


@pytest.fixture(autouse=True)
def as_in_a_new_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test before may have served runs in this process, which turns the line off for what it starts."""
    monkeypatch.delenv("TIDEGATE_PROGRESS", raising=False)


class Terminal:
    """A program with a terminal as its standard error."""

    def __init__(self, *arguments: str) -> None:
        ours, theirs = pty.openpty()
        self._ours = ours
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], stderr=theirs, stdout=subprocess.PIPE, text=True, cwd=HERE
        )
        os.close(theirs)

    def until(self, pattern: str) -> None:
        """Reads until the terminal has shown `pattern`."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.shown):
            assert time.monotonic() < deadline, self.shown
            self.read(1.0)

    def read(self, seconds: float) -> bool:
        """Reads what there is; False at the end."""
        if select.select([self._ours], [], [], seconds)[0]:
            try:
                self.shown += os.read(self._ours, 1 << 16).decode()
            except OSError:  # who wrote there has ended
                return False
        return True

    def end(self) -> str:
        """Reads to the end; the program's standard output."""
        while self.read(PATIENCE):
            pass
        out, _ = self.process.communicate(timeout=PATIENCE)
        return out


@pytest.mark.parametrize(("how", "what"), [("map", "map step"), ("wait", "wait")])
def test_a_terminal_shows_how_far_the_runs_are(server: str, tmp_path: Path, how: str, what: str) -> None:
    os.mkfifo(tmp_path / "go")
    terminal = Terminal(str(tmp_path), how)
    terminal.until(rf"{what}: 2/5 done, 1 failed, 2 running")
    writer = os.open(tmp_path / "go", os.O_WRONLY)
    os.close(writer)
    # Who opens it after that waits for another writer.
    while terminal.process.poll() is None and terminal.read(0.05):
        try:
            os.close(os.open(tmp_path / "go", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody waits
            pass
    assert terminal.end() == "[1, 2, 3, 4]\n"
    assert terminal.shown.endswith("\x1b[2K"), "nothing of it is left"


@pytest.mark.parametrize("environment", [{"TIDEGATE_PROGRESS": "0"}, {"TERM": "dumb"}])
def test_it_can_be_turned_off(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    (tmp_path / "go").touch()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal(str(tmp_path), "map")
    assert terminal.end() == "[1, 2, 3, 4]\n"
    assert terminal.shown == ""


def test_nothing_is_shown_where_there_is_no_terminal(server: str, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), "map"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=HERE, timeout=PATIENCE)
    assert (ended.stdout, ended.stderr) == ("[1, 2, 3, 4]\n", "")
