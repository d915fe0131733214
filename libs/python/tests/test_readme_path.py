"""The path of the README from a function to a scheduled deployment, as it is written there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from conftest import HERE, PATIENCE, until

pytestmark = pytest.mark.usefixtures("server")

README = HERE.parents[2] / "README.md"


def test_the_path_of_the_readme_ends_in_a_completed_run(tmp_path: Path) -> None:
    section = README.read_text().split("**From a function to a scheduled deployment.**")[1]
    function, file, commands = re.findall(r"```(?:python|toml|sh)\n(.*?)```", section, re.DOTALL)[:3]
    assert len([line for line in (function + file + commands).splitlines() if line]) < 20
    # Its code is here, with this interpreter, and nobody waits for the night.
    here = f"source = {{ path = {json.dumps(str(tmp_path))} }}\njob_variables = {{ python = {json.dumps(sys.executable)} }}"
    file, n_sources = re.subn(r"^source = .*$", lambda _: here, file, flags=re.MULTILINE)
    file, n_crons = re.subn(r'^cron = ".*"$', 'cron = "* * * * * *"', file, flags=re.MULTILINE)
    assert (n_sources, n_crons) == (1, 1)
    (tmp_path / "flows.py").write_text(function)
    (tmp_path / "tidegate.toml").write_text(file)

    def words(line: str) -> list[str]:
        command = shlex.split(line, comments=True)
        assert command[0] == "tidegate"
        return [os.environ["TIDEGATE_BIN"], *command[1:]]

    def told(line: str) -> str:
        return subprocess.run(words(line), cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True).stdout

    *before, work, look = commands.splitlines()
    for line in before:
        told(line)
    assert work.partition("#")[0].rstrip().endswith("&")
    start = words(work.partition("&")[0])
    worker = subprocess.Popen([*start, "--data-dir", str(tmp_path / "worker")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert worker.stdout is not None
    threading.Thread(target=worker.stdout.read, daemon=True).start()
    try:

        def completed() -> list[Any]:
            return [run for run in json.loads(told(f"{look} -o json")) if run["state"]["type"] == "COMPLETED"]

        run = until(completed)[0]
        until(lambda: "the day is done" in told(f"tidegate run logs {run['id']}"))
    finally:
        told("tidegate schedule pause nightly/eu default")
        worker.terminate()
        worker.wait(PATIENCE)
