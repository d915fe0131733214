"""A worker in Rust and code in Python call each other's functions, by the names of their parameters."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from conftest import PATIENCE, Processes
from tidegate import RunFailed, flow, task

pytestmark = pytest.mark.usefixtures("server")

RUST_QUEUE, PYTHON_QUEUE = "rust-functions", "python-functions"


@task(queue=RUST_QUEUE)
def rust_difference(minuend: int, subtrahend: int = 0) -> int:
    raise AssertionError("a worker in Rust executes it")


@task(name="rust_difference", queue=RUST_QUEUE)
def wrongly_called(minuend: int, of: int) -> int:
    raise AssertionError("a worker in Rust executes it")


@flow(queue=RUST_QUEUE)
def asks_python(queue: str, a: int, b: int) -> int:
    raise AssertionError("a worker in Rust executes it")


@pytest.fixture
def rust_worker(server: str) -> Iterator[None]:
    """The worker of the integration tests."""
    program = Path(os.environ["TIDEGATE_BIN"]).with_name("tidegate-test-worker")
    assert program.exists(), f"{program} is missing: cargo build --workspace --bins"
    process = subprocess.Popen([program, "serve", RUST_QUEUE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait(PATIENCE)


@pytest.mark.usefixtures("rust_worker")
def test_rust_executes_what_python_delays() -> None:
    assert rust_difference.delay(5, subtrahend=3).result(timeout=PATIENCE) == 2
    assert rust_difference.delay(5).result(timeout=PATIENCE) == 5
    with pytest.raises(RunFailed, match=r"rust_difference\(minuend, subtrahend\).*unknown field `of`"):
        wrongly_called.delay(5, of=3).result(timeout=PATIENCE)


@pytest.mark.usefixtures("rust_worker")
def test_python_executes_what_rust_delays(processes: Processes) -> None:
    processes.worker("work.py", PYTHON_QUEUE)
    handle = asks_python.delay(PYTHON_QUEUE, 2, 3)
    assert handle.result(timeout=PATIENCE) == 5
