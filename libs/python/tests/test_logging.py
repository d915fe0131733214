"""Log lines that must not be lost, and whose they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

import results_work as work
from conftest import HERE, PATIENCE, Processes
from tidegate import get_run


def run_program(program: str, **environment: str) -> tuple[str, str]:
    """Runs `program`; the id that it prints first, and its standard error."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=HERE,
        timeout=PATIENCE,
        env={**os.environ, **environment},
    )
    assert ended.stdout, ended.stderr
    return ended.stdout.split()[0], ended.stderr


BEGIN = """
import logging, sys
from tidegate import current_run, flow, get_run_logger, task
"""


def test_the_last_lines_of_a_program_that_raises_are_kept(server: str) -> None:
    program = BEGIN + """
@flow
def breaks():
    print(current_run().run_id, flush=True)
    for n in range(500):
        get_run_logger().info("line %d", n)
    raise KeyboardInterrupt

breaks()
"""
    run_id, err = run_program(program)
    assert "KeyboardInterrupt" in err
    assert get_run(run_id).logs() == [f"line {n}" for n in range(500)]


def test_the_environment_names_other_loggers_whose_lines_are_kept(server: str) -> None:
    program = BEGIN + """
logging.getLogger("lib").setLevel(logging.INFO)

@task
def works():
    print(current_run().run_id, flush=True)
    logging.getLogger("lib.part").info("from the library")
    logging.getLogger("lib.part").debug("too quiet")
    logging.getLogger("stranger").warning("of no interest")

logging.getLogger("lib").info("of no run")
works()
"""
    run_id, _ = run_program(program, TIDEGATE_EXTRA_LOGGERS="other, lib")
    assert get_run(run_id).logs() == ["from the library"]
    run_id, _ = run_program(program)
    assert get_run(run_id).logs() == []


def test_a_delayed_task_outside_of_any_flow_keeps_its_lines(
    server: str, processes: Processes, tmp_path: Path
) -> None:
    queue = f"logging-{uuid4()}"
    worker = processes.worker("results_work.py", queue)
    handle = work.says.with_options(queue=queue).delay("hello")
    assert handle.result(timeout=PATIENCE) is None
    worker.terminate()
    worker.wait(PATIENCE)
    assert handle.logs() == ["hello", "two\\nlines", "said hello"]


def test_a_very_long_line_is_cut_with_a_mark(server: str) -> None:
    program = BEGIN + """
@task
def works():
    print(current_run().run_id, flush=True)
    get_run_logger().info("first\\nsecond " + "x" * 100_000)

works()
"""
    run_id, _ = run_program(program)
    (line,) = get_run(run_id).logs()
    assert line.startswith("first\nsecond xxx") and line.endswith("x… [cut]") and len(line.encode()) <= 64 << 10


def test_the_lines_of_hooks_are_of_their_run(server: str) -> None:
    program = BEGIN + """
def note(task, run, state):
    get_run_logger().info("ended as %s", state.type)

@task(on_completion=note)
def works():
    print(current_run().run_id, flush=True)
    get_run_logger().info("works")

works()
"""
    run_id, _ = run_program(program)
    assert get_run(run_id).logs() == ["works", "ended as COMPLETED"]
