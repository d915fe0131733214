"""Workers: what they say, from where they can be started, and how they end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Iterator

import pytest

import process_work as work
from conftest import HERE, PATIENCE, Processes, until
from tidegate import InvalidArgument, serve
from tidegate._connection import client


@pytest.fixture
def queue() -> str:
    """A queue of this test alone."""
    return f"q-{uuid.uuid4().hex[:12]}"


def lines(worker: "subprocess.Popen[str]") -> Iterator[str]:
    assert worker.stderr is not None
    return (line.removeprefix("tidegate: ").rstrip() for line in worker.stderr)


def next_line(worker: "subprocess.Popen[str]", pattern: str) -> str:
    """The next line of the worker that has `pattern` in it."""
    seen = []
    for line in lines(worker):
        seen.append(line)
        if re.search(pattern, line):
            return line
    raise AssertionError(f"no line with {pattern}: {seen}")


def test_a_worker_says_what_it_serves_and_how_it_stands(
    processes: Processes, server: str, queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_HEARTBEAT_LINE_SECONDS", "0.1")
    worker = processes.start("-m", "tidegate", "serve", "process_work", "--queue", queue, "--limit", "3")
    first = next_line(worker, " serves ")
    assert "flow where (process), flow where_async (process), flow where_in_thread (thread), task" in first
    assert first.endswith(f"from {queue}, 3 tasks and 10 flows at once, at {client().address}")
    next_line(worker, "^running 0, done 0, failed 0, connected$")
    path = tmp_path / "pids"
    waiting = work.waits_for_file.with_options(queue=queue).delay(str(path))
    next_line(worker, "^running 1, done 0, failed 0, connected$")
    Path(f"{path}.go").touch()
    waiting.result(timeout=PATIENCE)
    work.fails.with_options(queue=queue).delay().result(timeout=PATIENCE, raise_on_failure=False)
    work.dies.with_options(queue=queue).delay("exit").result(timeout=PATIENCE, raise_on_failure=False)
    next_line(worker, "^flow dies, run .*, crashed: the process of the run ended with exit code 3: ")
    next_line(worker, "^running 0, done 1, failed 1, crashed 1, connected$")
    worker.send_signal(signal.SIGTERM)
    next_line(worker, "^SIGTERM: running work may end, no more is taken; once more ends at once$")
    next_line(worker, "has ended$")
    assert worker.wait(PATIENCE) == 0


def test_a_path_names_functions_too(processes: Processes, server: str, queue: str) -> None:
    target = str(HERE / "process_work.py") + ":where"
    worker = processes.start("-m", "tidegate", "serve", target, "--queue", queue, "--limit", "3")
    assert f"serves flow where (process) from {queue}, 3 flows at once" in next_line(worker, " serves ")
    assert work.where.with_options(queue=queue).delay().result(timeout=PATIENCE)[1] == worker.pid


def probed(address: str, path: str) -> tuple[int, str]:
    """What a probe is told."""
    try:
        with urllib.request.urlopen(f"{address}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("by", ["option", "environment"])
def test_probes_are_told_whether_a_worker_takes_runs(
    processes: Processes, server: str, queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    arguments = ["-m", "tidegate", "serve", str(HERE / "process_work.py") + ":waits_for_file", "--queue", queue]
    if by == "option":
        arguments += ["--health-address", "127.0.0.1:0"]
    else:
        monkeypatch.setenv("TIDEGATE_WORKER_HEALTH_ADDRESS", "127.0.0.1:0")
    worker = processes.start(*arguments)
    line = next_line(worker, "its health is at ")
    address = line.split(" at ", 1)[1].removesuffix("/readyz")
    until(lambda: probed(address, "/readyz") == (200, "takes runs\n"))
    assert (probed(address, "/livez")[0], probed(address, "/health")[0], probed(address, "/nowhere")[0]) == (200, 200, 404)
    path = tmp_path / "pids"
    waiting = work.waits_for_file.with_options(queue=queue).delay(str(path))
    until(path.exists)
    worker.send_signal(signal.SIGTERM)
    until(lambda: probed(address, "/readyz") == (503, "takes no more runs\n"))
    assert probed(address, "/livez")[0] == 200
    Path(f"{path}.go").touch()
    assert waiting.result(timeout=PATIENCE) == "went on"
    assert worker.wait(PATIENCE) == 0


def test_flows_in_threads_may_be_many(processes: Processes, server: str, queue: str) -> None:
    target = str(HERE / "process_work.py") + ":where_in_thread"
    worker = processes.start("-m", "tidegate", "serve", target, "--queue", queue)
    assert f"serves flow where_in_thread (thread) from {queue}, 100 flows at once" in next_line(worker, " serves ")


def test_a_backlog_of_flows_is_few_processes(
    processes: Processes, server: str, queue: str, tmp_path: Path
) -> None:
    path = tmp_path / "pids"
    target = str(HERE / "process_work.py") + ":waits_for_file"
    worker = processes.start("-m", "tidegate", "serve", target, "--queue", queue)
    handles = [work.waits_for_file.with_options(queue=queue).delay(str(path)) for _ in range(15)]
    until(lambda: path.exists() and len(path.read_text().splitlines()) == 10)
    until(lambda: [handle.state.type for handle in handles].count("RUNNING") == 10)
    Path(f"{path}.go").touch()
    assert [handle.result(timeout=PATIENCE) for handle in handles] == ["went on"] * 15
    assert len(set(path.read_text().splitlines())) == 15 and worker.poll() is None


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("process_work:wher", "process_work:wher: `wher` is no flow or task of process_work; do you mean `where`?"),
        ("nowhere:f", "nowhere: there is no such module; name one, or a file as path.py:function"),
        ("nowhere.py:f", "nowhere.py: there is no such file"),
        ("conftest", "conftest: no flow or task is defined there"),
    ],
)
def test_what_cannot_be_served_by_name_is_told(target: str, error: str) -> None:
    arguments = [sys.executable, "-m", "tidegate", "serve", target]
    ended = subprocess.run(arguments, cwd=HERE, capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stderr.strip()) == (1, f"tidegate: {error}")


def test_a_second_signal_ends_a_worker_with_its_processes(
    processes: Processes, server: str, queue: str, tmp_path: Path
) -> None:
    from test_processes import is_alive, pids_of

    path = tmp_path / "pids"
    worker = processes.start("process_work.py", queue)
    work.does_not_end.with_options(queue=queue).delay(str(path))
    pids = pids_of(path)
    worker.send_signal(signal.SIGINT)
    next_line(worker, "SIGINT")
    worker.send_signal(signal.SIGINT)
    assert worker.wait(PATIENCE) == 128 + signal.SIGINT
    until(lambda: not any(map(is_alive, pids)))


IN_A_THREAD = """
import sys, threading
import process_work as work
threading.Thread(target=work.where.serve, kwargs={"queues": [sys.argv[1]]}, daemon=True).start()
pid, parent = work.where.with_options(queue=sys.argv[1]).delay().result(timeout=60)
print(pid != parent)
"""

IN_A_LOOP = """
import asyncio, os, sys
import process_work as work
from tidegate import serve

async def main():
    serving = asyncio.ensure_future(serve(work.where, work.where_task, queues=[sys.argv[1]]))
    pid, parent = await work.where.with_options(queue=sys.argv[1]).delay()
    assert pid != parent == os.getpid()
    assert await work.where_task.with_options(queue=sys.argv[1]).delay() == os.getpid()
    if len(sys.argv) > 2:
        print("serving", flush=True)
        await serving
    serving.cancel()
    await asyncio.wait([serving])
    print(serving.cancelled())

asyncio.run(main())
"""


@pytest.mark.parametrize("program", [IN_A_THREAD, IN_A_LOOP])
def test_serve_in_a_thread_and_in_an_event_loop(processes: Processes, server: str, queue: str, program: str) -> None:
    assert processes.run("-c", program, queue).strip() == "True"


def test_serve_in_an_event_loop_takes_signals(processes: Processes, server: str, queue: str) -> None:
    program = processes.start("-c", IN_A_LOOP, queue, "until told")
    assert program.stdout is not None and program.stdout.readline() == "serving\n"
    program.send_signal(signal.SIGTERM)
    assert program.communicate(timeout=PATIENCE)[0] == "False\n"
    assert program.returncode == 0


def test_wrong_options_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="no option `webserver` and needs none: any process starts a run by `.delay"):
        work.where.serve(webserver=True)
    options = "its options are limit, flow_limit, queues, drain_seconds, labels, health_address$"
    with pytest.raises(TypeError, match=f"serve.. has no option `limits`; {options}"):
        serve(work.where, limits=3)
    with pytest.raises(InvalidArgument, match="takes flows and tasks, not a .*: decorate it first"):
        serve(os.getpid)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"serve\(limit=0\): it is a whole number from 1 to 10,000"):
        work.where_task.serve(limit=0)
    with pytest.raises(InvalidArgument, match=r"serve\(flow_limit='many'\): it is a whole number"):
        work.where.serve(flow_limit="many")
    with pytest.raises(InvalidArgument) as told:
        serve(work.where_task, health_address="localhost")
    assert str(told.value) == 'health_address="localhost": write an IP address and a port, such as "0.0.0.0:8080"'
    monkeypatch.setenv("TIDEGATE_HEARTBEAT_LINE_SECONDS", "often")
    with pytest.raises(InvalidArgument, match="TIDEGATE_HEARTBEAT_LINE_SECONDS=often is no number of seconds"):
        work.where.serve()
