"""A web program under gunicorn, whose master imports it once and forks its workers then (`--preload`)."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Iterator

import pytest

from conftest import HERE, PATIENCE, Processes
from tidegate import find_runs, get_run

#: How long gunicorn may take to end, in seconds: it kills a worker that hangs after 30, and says that all is well.
END_SECONDS = 20


class Gunicorn:
    """A web program with two workers."""

    def __init__(self, folder: Path) -> None:
        self.queue = f"q-{uuid.uuid4().hex[:12]}"
        self._log = folder / "log"
        # Who connects before gunicorn is ready waits.
        with socket.create_server(("127.0.0.1", 0)) as listener, self._log.open("w") as log:
            self._port = listener.getsockname()[1]
            options = ["--preload", "--workers", "2", "--bind", f"fd://{listener.fileno()}"]
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *options, f"gunicorn_work:app_of('{self.queue}')"],
                cwd=HERE,
                env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},  # where it has a socket for commands
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask_both(self, first: int, second: int) -> list[dict[str, Any]]:
        """What its two workers answer, each to one request."""
        waits, asks = self._connect(), self._connect()
        # A worker has taken the connection that came first, and waits for what it says. So the other one answers this:
        answer = _ask(asks, second)
        return [_ask(waits, first), answer]

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        connection.connect()
        return connection

    def end(self) -> None:
        """Asks it to end, which it and its workers do in order."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(END_SECONDS)
        log = self._log.read_text()
        assert (code, "Traceback" in log, "exited with code" in log) == (0, False, False)

    def kill(self) -> None:
        """Leaves none of its processes behind, should it not have ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)
        print(self._log.read_text())  # seen where the test has failed


def _ask(connection: http.client.HTTPConnection, n: int) -> dict[str, Any]:
    connection.request("GET", f"/?{n}")
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, body
    answer: dict[str, Any] = json.loads(body)
    assert answer["called"] == [2 * n, answer["pid"]], "it has executed the call itself"
    return answer


@pytest.fixture
def gunicorn(server: str, tmp_path: Path) -> Iterator[Gunicorn]:
    started = Gunicorn(tmp_path)
    yield started
    started.kill()


def check_runs(gunicorn: Gunicorn, answers: dict[int, dict[str, Any]], worker: subprocess.Popen[str]) -> None:
    """What master and workers have queued is executed, and what they have called is reported."""
    queued, pid = answers[1]["before"]
    assert pid == gunicorn.process.pid, "it was the master that has imported the program"
    for n, its_id in [(0, queued), *((n, answer["queued"]) for n, answer in answers.items())]:
        assert get_run(its_id).result(timeout=PATIENCE) == [2 * n, worker.pid]
    states = Counter(run.state.type for run in find_runs(tags=gunicorn.queue))
    assert states == {"COMPLETED": 2 + 2 * len(answers)}


def test_each_worker_of_gunicorn_has_connections_of_its_own(gunicorn: Gunicorn, processes: Processes) -> None:
    worker = processes.worker("gunicorn_work.py", gunicorn.queue)
    answers = dict(enumerate(gunicorn.ask_both(1, 2), 1))
    assert len({gunicorn.process.pid, *(answer["pid"] for answer in answers.values())}) == 3
    gunicorn.end()
    check_runs(gunicorn, answers, worker)


def test_so_has_one_that_comes_in_the_place_of_a_killed_one(gunicorn: Gunicorn, processes: Processes) -> None:
    worker = processes.worker("gunicorn_work.py", gunicorn.queue)
    answers = dict(enumerate(gunicorn.ask_both(1, 2), 1))
    killed, stays = answers[1]["pid"], answers[2]["pid"]
    os.kill(killed, signal.SIGKILL)
    answers.update(enumerate(gunicorn.ask_both(3, 4), 3))
    others = {answers[n]["pid"] for n in (3, 4)} - {stays}
    assert len(others) == 1 and others.isdisjoint({killed, gunicorn.process.pid})
    gunicorn.end()
    check_runs(gunicorn, answers, worker)
