"""Whatever is wrong around the code of a run is the end of that run, with its cause, and of nothing else."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

import faulty_work as work
from conftest import PATIENCE, Processes
from tidegate import RunFailed

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def queue() -> str:
    """A queue of this test alone."""
    return f"q-{uuid.uuid4().hex[:12]}"


def failure_of(function: Any, queue: str, *arguments: Any) -> RunFailed:
    handle = function.with_options(queue=queue, validate_parameters=False).delay(*arguments)
    with pytest.raises(RunFailed) as failed:
        handle.result(timeout=PATIENCE)
    return failed.value


def test_a_check_of_arguments_that_raises_is_a_failure(processes: Processes, queue: str) -> None:
    processes.worker("faulty_work.py", queue)
    for function in (work.checks, work.checks_async, work.checks_in_process):
        failure = failure_of(function, queue, {"n": 1})
        assert f"the arguments of `{function.name}` cannot be checked: KeyError: 'no such price list'" in str(failure)


def test_an_exception_that_cannot_tell_its_text_is_a_failure(processes: Processes, queue: str) -> None:
    processes.worker("faulty_work.py", queue)
    for function in (work.raises_mute, work.raises_mute_async, work.raises_mute_in_process):
        failure = failure_of(function, queue)
        assert "(its text cannot be had: AttributeError in its __str__)" in str(failure)
