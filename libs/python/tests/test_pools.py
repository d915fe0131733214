"""Runs of a work pool: its worker starts a process for each, which executes the flow. Real processes, real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any, Iterator

import pytest

import pool_work as work
from conftest import HERE, PATIENCE, until
from tidegate import RunCancelled, RunCrashed, RunFailed
from test_processes import is_alive
from tidegate.deployments import ArchiveSource, DeploymentCall, GitSource, ImageSource, PathSource, run_deployment, run_deployments

pytestmark = pytest.mark.usefixtures("server")


class Lab:
    """A pool, its workers, and deployments of it."""

    def __init__(self, directory: Path) -> None:
        self.pool = f"pool-{uuid.uuid4().hex[:12]}"
        self._directory = directory
        self._workers: list[subprocess.Popen[str]] = []
        subprocess.run([os.environ["TIDEGATE_BIN"], "pool", "create", self.pool], check=True, stdout=subprocess.DEVNULL)

    def worker(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a worker, and waits until it takes runs."""
        data = ("--data-dir", str(self._directory / "worker"))
        command = [os.environ["TIDEGATE_BIN"], "worker", "start", "--pool", self.pool, "--limit", "20", *data, *arguments]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._workers.append(worker)
        assert worker.stdout is not None
        lines = []
        for line in worker.stdout:
            lines.append(line)
            if " takes runs of pool " in line:
                threading.Thread(target=worker.stdout.read, daemon=True).start()
                return worker
        raise AssertionError(f"the worker ended: {''.join(lines)}")

    def deploy(self, flow: Any, entrypoint: str = "") -> str:
        """Makes a deployment of the pool; its name."""
        name = f"on-{self.pool}"
        flow.deploy(
            name,
            entrypoint=entrypoint or f"pool_work.py:{flow.fn.__name__}",
            work_pool=self.pool,
            source=PathSource(str(HERE)),
            job_variables={"python": sys.executable},
        )
        return f"{flow.name}/{name}"

    def end(self) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait(PATIENCE)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A pool of this test alone."""
    lab = Lab(tmp_path)
    yield lab
    lab.end()


def lines_of(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_a_flow_is_executed_in_a_process_that_the_worker_starts(lab: Lab) -> None:
    lab.worker()
    handle = run_deployment(lab.deploy(work.adds), {"a": 3, "b": 4}, timeout=PATIENCE)
    assert handle.result(timeout=PATIENCE) == 10
    asynchronous = run_deployment(lab.deploy(work.awaits), {"text": "tide"}, timeout=PATIENCE)
    assert asynchronous.result(timeout=PATIENCE) == "TIDE"
    command = [os.environ["TIDEGATE_BIN"], "run", "logs", handle.id]
    logs = until(lambda: "adding 3" in (out := subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout) and out)
    assert logs.count("adding 3") == 1, "a print has one line"


def test_a_pool_without_a_live_worker_is_told_by_deploy(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.deploy(work.adds)
    assert f"work pool `{lab.pool}` has no live worker: start one with `tidegate worker start" in caplog.text
    lab.worker()

    def is_deployed_without_a_word() -> bool:
        caplog.clear()
        lab.deploy(work.awaits)
        return "no live worker" not in caplog.text

    until(is_deployed_without_a_word)  # once the worker is known


def test_what_the_code_raises_is_told_also_while_it_is_imported(lab: Lab) -> None:
    lab.worker()
    raised = run_deployment(lab.deploy(work.raises), {"text": "no such day"}, timeout=PATIENCE)
    with pytest.raises(RunFailed, match="no such day"):
        raised.result(timeout=PATIENCE)
    broken = run_deployment(lab.deploy(work.awaits, "pool_broken.py:awaits"), {"text": ""}, timeout=PATIENCE)
    with pytest.raises(RunFailed, match="no licence for this library"):
        broken.result(timeout=PATIENCE)
    missing = run_deployment(lab.deploy(work.adds, "pool_work.py:add"), {"a": 1, "b": 1}, timeout=PATIENCE)
    with pytest.raises(RunFailed, match="do you mean `adds`"):
        missing.result(timeout=PATIENCE)
    died = run_deployment(lab.deploy(work.dies.with_options(max_crashes=0)), timeout=PATIENCE)
    with pytest.raises(RunCrashed, match="exit code 5"):
        died.result(timeout=PATIENCE)
    assert died.run().crashes == 1, "none is forgiven"


def test_the_runs_of_a_worker_that_was_killed_go_on_at_another(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "attempts"
    killed = lab.worker()
    calls = [DeploymentCall(lab.deploy(work.holds), {"path": str(path)}) for _ in range(10)]
    handles = run_deployments(calls, timeout=0)
    until(lambda: len(lines_of(path)) == 10)
    first = [pid for _, pid in lines_of(path)]
    killed.kill()
    until(lambda: not any(is_alive(int(pid)) for pid in first))
    lab.worker()
    assert [handle.result(timeout=PATIENCE) for handle in handles] == [2] * 10


def test_a_cancel_ends_the_processes_of_a_whole_tree(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "attempts"
    lab.worker()
    children = [*[lab.deploy(work.holds)] * 4, lab.deploy(work.is_deaf)]
    parent = run_deployment(lab.deploy(work.fans_out), {"path": str(path), "deployments": children}, timeout=0)
    until(lambda: len(lines_of(path)) == 5)
    parent.cancel()
    until(lambda: not any(is_alive(int(pid)) for _, pid in lines_of(path)))  # also the one that only a SIGKILL ends
    with pytest.raises(RunCancelled):
        parent.result(timeout=PATIENCE)
    assert all(attempt == "1" for attempt, _ in lines_of(path))


def test_a_worker_that_is_told_to_end_has_its_runs_start_elsewhere(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "attempts"
    first = lab.worker("--drain-seconds", "0")
    handle = run_deployment(lab.deploy(work.holds), {"path": str(path)}, timeout=0)
    until(lambda: lines_of(path))
    lab.worker()
    first.send_signal(signal.SIGTERM)
    assert first.wait(PATIENCE) == 0
    assert handle.result(timeout=PATIENCE) == 2
    assert not is_alive(int(lines_of(path)[0][1]))


def test_job_variables_of_a_call_go_over_those_of_its_deployment(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "told"
    lab.worker()
    name = work.adds.deploy(
        lab.pool,
        work_pool=lab.pool,
        command=["sh", "-c", f'echo "$TIDE" "${{SIDE-none}}" >> {path}'],
        job_variables={"env": {"TIDE": "low", "SIDE": "left"}},
    ).name
    # Each key by itself: what a call does not name stays, and what it says to be None goes.
    for job_variables in (None, {"env": {"TIDE": "high"}}, {"env": {"SIDE": None}}):
        handle = run_deployment(name, {"a": 1, "b": 1}, job_variables=job_variables, timeout=PATIENCE)
        assert handle.state.is_completed()
    assert lines_of(path) == [["low", "left"], ["high", "left"], ["low", "none"]]


def test_a_deployment_has_all_that_it_is_given(lab: Lab) -> None:
    binary = os.environ["TIDEGATE_BIN"]
    subprocess.run([binary, "pool", "update", lab.pool, "--queue", "fast"], check=True, stdout=subprocess.DEVNULL)
    function = work.adds.with_options(
        retries=3, retry_delay_seconds=2, timeout_seconds=60, max_crashes=5, detached_on_failure=True, labels={"team": "tide"}
    )
    name = function.deploy(
        lab.pool,
        description="adds",
        entrypoint="etl/adds.py:adds",
        parameters={"a": 1, "b": 2},
        tags=["etl"],
        labels={"site": "harbour"},
        priority=7,
        queue="fast",
        concurrency_limit=2,
        on_collision="cancel_oldest",
        version="v1",
        work_pool=lab.pool,
        source=GitSource("https://example.org/etl", ref="v1", directory="src"),
        job_variables={"env": {"A": "1"}},
        interval=3600,
    ).name

    def told(*command: str) -> Any:
        return json.loads(subprocess.run([binary, *command, "-o", "json"], check=True, stdout=subprocess.PIPE).stdout)

    spec = told("deployment", "get", name)["spec"]
    assert spec.pop("parameter_schema")["required"] == ["a", "b"]
    policies = spec.pop("policies")
    assert spec == {
        "command": [],
        "description": "adds",
        "enforce_parameter_schema": True,
        "entrypoint": "etl/adds.py:adds",
        "job_variables": {"env": {"A": "1"}},
        "labels": {"site": "harbour", "team": "tide"},
        "max_concurrent_runs": 2,
        "on_collision": "CANCEL_OLDEST",
        "parameters": {"a": 1, "b": 2},
        "priority": 7,
        "queue": "fast",
        "source": {"git": "https://example.org/etl", "ref": "v1", "directory": "src"},
        "tags": ["etl"],
        "version_label": "v1",
        "work_pool": lab.pool,
    }
    wanted = {
        "max_retries": 3,
        "retry_delays": ["2s"],
        "run_timeout": "60s",
        "max_crashes": 5,
        "parent_on_failure": "DETACH",
        "parent_on_crash": "UNSPECIFIED",
    }
    assert {field: policies[field] for field in wanted} == wanted
    assert [each["name"] for each in told("schedule", "ls", name)] == ["default"]
    containers = f"{lab.pool}-docker"
    subprocess.run([binary, "pool", "create", containers, "--type", "docker"], check=True, stdout=subprocess.DEVNULL)
    archive = ArchiveSource("s3://bucket/etl.tar.gz", sha256="0" * 64, directory="src")
    for pool, source, wanted_source in [
        (containers, ImageSource("etl:1"), {"image": "etl:1"}),
        (lab.pool, archive, {"archive": archive.url, "sha256": archive.sha256, "directory": "src"}),
        (lab.pool, "/srv/etl", {"path": "/srv/etl"}),
    ]:
        work.adds.deploy(lab.pool, work_pool=pool, source=source)
        told_source = told("deployment", "get", name)["spec"]["source"]
        assert {field: value for field, value in told_source.items() if value} == wanted_source
