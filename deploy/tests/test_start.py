"""Three pods of each service start at once on an empty database, as the chart starts them, and serve."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import ROOT, SERVICES, VALUES, Release, program, run, values_of

REPLICAS = 3


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def eventually(what: str, is_so: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.1)


def test_replicas_that_start_at_once_agree_on_one_schema(psql: Any, tmp_path: Path) -> None:
    (file,) = [file for file in VALUES if file.stem == "file"]
    release = Release(values_of(file))
    urls = {"postgres": psql.url, "redis": os.environ["TIDEGATE_TEST_REDIS_URL"]}
    ports = {(service, n): free_port() for service in SERVICES for n in range(REPLICAS)}

    def env(service: str, n: int) -> dict[str, str]:
        # What differs on one machine: each pod has an address of its own there.
        url = {name: f"http://127.0.0.1:{ports[name, n]}" for name in SERVICES}
        own = release.env(service, urls, tmp_path / f"{service}-{n}") | {"TIDEGATE__LISTEN": f"127.0.0.1:{ports[service, n]}"}
        over = {
            "TIDEGATE__DELIVERY_ADDRESS": url["task-queue"],
            "TIDEGATE__SCHEDULER_ADDRESS": url["scheduler"],
            "TIDEGATE__ENGINE_ADDRESS": url["api"],
            "TIDEGATE__REDIS__PREFIX": f"deploy{os.getpid()}",
            "TIDEGATE__OBJECT_STORAGE__URL": f"file://{tmp_path}/payloads",
        }
        return own | {name: value for name, value in over.items() if name in own}

    envs = {who: env(*who) for who in ports}
    logs = {who: tmp_path / f"{who[0]}-{who[1]}.log" for who in ports}
    pods = {}
    try:
        for who in ports:
            with logs[who].open("w") as log:
                pods[who] = subprocess.Popen([program(f"tidegate-{who[0]}")], env=envs[who], stderr=log)
        for who, pod in pods.items():

            def healthy(who: tuple[str, int] = who, pod: subprocess.Popen[bytes] = pod) -> bool:
                assert pod.poll() is None, f"{who} ended:\n{logs[who].read_text()}"
                return run(who[0], "--check-health", env=envs[who]).returncode == 0

            eventually(f"{who} is healthy", healthy)
        applied = psql("SELECT version, success FROM _sqlx_migrations ORDER BY version").splitlines()
        known = sorted((ROOT / "libs/store-postgres/migrations").glob("*.sql"))
        assert applied == [f"{int(file.name.partition('_')[0])}|t" for file in known]
        asked = [program("tidegate"), "run", "ls", "--address", f"http://127.0.0.1:{ports['api', 1]}"]
        assert subprocess.run(asked, capture_output=True, timeout=60).returncode == 0
        for pod in pods.values():
            pod.send_signal(signal.SIGTERM)
        for who, pod in pods.items():
            assert pod.wait(timeout=60) == 0, f"{who}:\n{logs[who].read_text()}"
            errors = [line for line in logs[who].read_text().splitlines() if "ERROR" in line]
            assert not errors, f"{who}: {errors}"
    finally:
        for pod in pods.values():
            pod.kill()
            pod.wait()
