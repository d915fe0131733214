"""Workers that are drained through the server, while their runs go on."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

import drain_work as work
from conftest import PATIENCE, Processes, until
from test_any_language import count, start, stubs  # noqa: F401: two are fixtures

#: Asks by the stubs that any client has: a list of workers, or the drain of one.
CALL = """
import json, os, sys
import grpc
from google.protobuf.json_format import MessageToDict
from tidegate.v1 import work_pool_service_pb2 as messages, work_pool_service_pb2_grpc as services

with grpc.insecure_channel(os.environ["TIDEGATE_ADDRESS"].removeprefix("http://")) as channel:
    stub = services.WorkPoolServiceStub(channel)
    if len(sys.argv) > 1:
        stub.DrainWorker(messages.DrainWorkerRequest(worker_id=sys.argv[1]))
    else:
        workers = stub.ListWorkers(messages.ListWorkersRequest(page_size=250)).workers
        print(json.dumps([MessageToDict(worker, preserving_proto_field_name=True) for worker in workers]))
"""


@pytest.fixture
def call(server: str, stubs: str) -> Any:  # noqa: F811
    """Calls the server as any client could."""

    def ask(*arguments: str) -> str:
        command = [sys.executable, "-c", CALL, *arguments]
        env = {"PYTHONPATH": stubs, "TIDEGATE_ADDRESS": server}
        return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=env, timeout=PATIENCE).stdout

    return ask


def test_a_drained_worker_takes_no_more_and_ends_with_its_runs(call: Any, processes: Processes, tmp_path: Path) -> None:
    def worker_of(process: subprocess.Popen[str]) -> dict[str, Any]:
        (worker,) = [worker for worker in json.loads(call()) if worker.get("process_id") == process.pid]
        return worker

    queue, go = f"q-{uuid.uuid4().hex[:12]}", tmp_path / "go"
    first = processes.worker("drain_work.py", queue)
    held = [function.with_options(queue=queue).delay(str(go)) for function in (work.waits, work.waits_in_a_process)]
    until(lambda: all(handle.state.is_running() for handle in held))
    worker = until(lambda: (it := worker_of(first)).get("n_runs") == 2 and it)
    assert (worker["queues"], worker["n_functions"], worker["is_live"]) == ([queue], 3, True)
    assert worker["sdk"].startswith("tidegate-python/")

    call(worker["id"])
    until(lambda: worker_of(first).get("is_draining"))
    second = processes.worker("drain_work.py", queue)
    assert work.pid.with_options(queue=queue).delay().result(timeout=PATIENCE) == second.pid
    assert first.poll() is None and all(handle.state.is_running() for handle in held)
    go.touch()
    assert held[0].result(timeout=PATIENCE) == first.pid
    assert held[1].result(timeout=PATIENCE) not in (first.pid, second.pid), "the flow has a process of its own"
    assert first.wait(PATIENCE) == 0
    assert until(lambda: worker_of(first).get("end")) == "WORKER_END_DRAINED"


def test_a_worker_of_the_proto_alone_drains(call: Any, start: list[subprocess.Popen[str]]) -> None:  # noqa: F811
    running = count.delay(40)
    until(lambda: running.state.is_running())
    (worker,) = [worker["id"] for worker in json.loads(call()) if f"-{start[0].pid}-" in worker["id"]]
    call(worker)
    assert running.result(PATIENCE) == 40
    assert start[0].wait(PATIENCE) == 0
