"""Programs that are told to end while they execute runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any, Iterator

import pytest

from conftest import HERE, PATIENCE
from tidegate import current_run, flow, get_run

pytestmark = pytest.mark.usefixtures("tidegate_server")


class Program:
    """`shutdown_work.py NAME`, until it is in the midst of its runs."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "shutdown_work.py", name], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        assert self.process.stdout is not None
        #: Ids by name, as the program tells them.
        self.ids: dict[str, str] = {}
        for line in self.process.stdout:
            if line == "ready\n":
                return
            if line == "ended\n":  # of the main thread
                continue
            name, id = line.split()
            self.ids[name] = id
        raise AssertionError(self.process.communicate()[1])

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Signals it; its exit code, and what it wrote to stderr."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err

    def found(self) -> dict[str, tuple[str, str]]:
        """The states of its runs."""
        states = {}
        for name, id in self.ids.items():
            assert get_run(id).wait(PATIENCE)
            state = get_run(id).state
            states[name] = (state.type, state.message)
        return states


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    started: list[Program] = []
    yield started
    for program in started:
        program.process.kill()
        program.process.wait(PATIENCE)


TERM = ("CRASHED", "SIGTERM: its process was asked to end")
INT = ("CRASHED", "SIGINT: its process was interrupted, as by Ctrl-C")
CASES = [(signal.SIGTERM, TERM, (143,)), (signal.SIGINT, INT, (130, -signal.SIGINT))]


@pytest.mark.parametrize("number, state, codes", CASES)
@pytest.mark.parametrize("name", ["nested", "submitted", pytest.param("asynchronous", marks=pytest.mark.every_python)])
def test_runs_crash_and_name_the_signal(
    programs: list[Program], name: str, number: signal.Signals, state: Any, codes: tuple[int, ...]
) -> None:
    program = Program(name)
    programs.append(program)
    code, err = program.end(number)
    assert code in codes, err
    assert program.found() == {name: state for name in program.ids}
    # Their last lines have reached the server.
    assert get_run(program.ids["inner"]).logs() == ["inner begins"]


def test_a_thread_that_hears_nothing_holds_no_program_up(programs: list[Program]) -> None:
    program = Program("deaf")
    programs.append(program)
    code, err = program.end(signal.SIGTERM)
    assert (code, "goes on: the process ends without it" in err) == (143, True)
    assert program.found()["outer"] == TERM
    # As comes first: the cancel of what is below a crash, or the end of the session.
    assert program.found()["inner"][0] in ("CANCELLED", "CRASHED")


def test_a_handler_of_the_program_stays_in_charge(programs: list[Program]) -> None:
    program = Program("own_handler")
    programs.append(program)
    assert program.end(signal.SIGTERM) == (3, "")
    assert program.found()["outer"] == ("COMPLETED", "")


@pytest.mark.every_python
def test_a_signal_is_no_cause_of_what_ends_later() -> None:
    run_ids: list[str] = []

    @flow
    def ended() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            time.sleep(0.01)

    @flow
    async def gives_up() -> None:
        run = current_run()
        assert run is not None
        run_ids.append(run.run_id)
        raise asyncio.CancelledError

    with pytest.raises(SystemExit):  # which this program does not end by
        ended()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(gives_up())
    assert get_run(run_ids[0]).wait(PATIENCE)
    assert get_run(run_ids[0]).state.type == "FAILED"


def test_what_runs_outside_of_any_flow_is_waited_for_at_exit(programs: list[Program]) -> None:
    """The interpreter joins threads before it ends; what they report after that is not lost."""
    program = Program("left_running")
    programs.append(program)
    program.process.communicate("", timeout=PATIENCE)
    assert program.process.returncode == 0
    assert program.found() == {"inner": ("COMPLETED", "")}
    assert get_run(program.ids["inner"]).logs() == ["inner begins", "inner ends"]


def test_daemon_threads_in_the_midst_of_calls_do_not_hold_the_end_up(programs: list[Program]) -> None:
    program = Program("daemons")
    programs.append(program)
    program.process.communicate(timeout=PATIENCE)  # what those threads say of calls that are cut off is theirs
    assert program.process.returncode == 0
