"""Deployments against a real server, with workers in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

import pytest

import deployed
from conftest import PATIENCE, Processes, until
from tidegate import InvalidArgument, NotFound, RunFailed, WaitTimeout, _schema, flow, get_run, tags, task
from tidegate._connection import block, client
from tidegate.deployments import DeploymentCall, GitSource, run_deployment, run_deployments

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def queue() -> str:
    """A queue of this test alone; also the name of its deployments."""
    return f"q-{uuid.uuid4().hex[:12]}"


def deploy(function: Any, queue: str, **options: Any) -> str:
    name: str = function.deploy(queue, queue=queue, **options).name
    return name


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_run_is_started_by_name_and_waited_for(processes: Processes, queue: str, tmp_path: Path) -> None:
    name = deploy(deployed.jot, queue, parameters={"repeat": 2}, tags=["deployed"], version="v1")
    processes.worker("deployed.py", queue)
    path = tmp_path / "names"
    handle = run_deployment(name, {"path": str(path), "name": "ada"}, tags=["now"], flow_run_name="the first")
    assert (handle.state.is_completed(), handle.result()) == (True, "ada")
    assert lines_of(path) == ["ada", "ada"], "the deployment's own parameters are there, too"
    run = handle.run()
    assert (run.kind, run.name, run.queue, run.run_name) == ("flow", "deployed-jot", queue, "the first")
    assert (run.deployment, run.deployment_version, run.tags) == (name, 1, ["now", "deployed"])

    async def in_a_loop() -> list[Any]:
        calls = [run_deployment(name, {"path": str(path), "name": each}) for each in ("b", "c")]
        return [await handle for handle in await asyncio.gather(*calls)]

    assert asyncio.run(in_a_loop()) == ["b", "c"]
    with tags("outer"):
        tagged = run_deployment(name, {"path": str(path), "name": "f"}, timeout=0)
    assert tagged.run().tags == ["outer", "deployed"]
    both = run_deployments([(name, {"path": str(path), "name": "d"}), DeploymentCall(name, {"path": str(path), "name": "e"})])
    assert [handle.result() for handle in both] == ["d", "e"]
    failed = run_deployment(deploy(deployed.raises, queue), {"text": "no"})
    assert failed.state.is_failed()
    with pytest.raises(RunFailed, match="no"):
        failed.result()


def test_a_run_has_one_name(queue: str) -> None:
    name = deploy(deployed.holds, queue)
    handle = run_deployment(name, run_name="of monday", timeout=0)
    assert handle.run().run_name == "of monday"
    (other,) = run_deployments([DeploymentCall(name, run_name="of tuesday")], timeout=0)
    assert other.run().run_name == "of tuesday"
    with pytest.raises(InvalidArgument, match="run_name and flow_run_name"):
        run_deployment(name, run_name="of monday", flow_run_name="of tuesday", timeout=0)


def test_a_served_name_is_a_deployment(processes: Processes, queue: str, tmp_path: Path) -> None:
    processes.worker("deployed.py", queue, "served")
    handle = run_deployment("deployed-jot/served", {"path": str(tmp_path / "names"), "name": "ada"}, queue=queue)
    assert handle.result() == "ada"


def test_waiting_has_bounds(queue: str) -> None:
    name = deploy(deployed.holds, queue)
    at_once = run_deployment(name, timeout=0)
    assert not at_once.state.is_ended()
    with pytest.raises(WaitTimeout, match="has not ended within 0.2 s, and goes on") as told:
        run_deployment(name, timeout=0.2)
    assert not told.value.handle.state.is_ended()

    async def in_a_loop() -> None:
        await run_deployment(name, timeout=0.2)

    with pytest.raises(WaitTimeout) as told:
        asyncio.run(in_a_loop())
    assert told.value.handle.cancel() == 1
    for wrong in (-1, float("nan")):
        with pytest.raises(InvalidArgument, match="give the seconds to wait, 0 not to wait at all"):
            run_deployment(name, timeout=wrong)
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    assert run_deployment(name, timeout=0, scheduled_time=later).state.type == "SCHEDULED"
    with pytest.raises(TypeError, match="poll_interval"):
        run_deployment(name, poll_interval=5)  # type: ignore[call-arg]


def test_a_call_says_when_and_where_and_whose_child_it_is(queue: str) -> None:
    name = deploy(deployed.holds, queue)
    later = datetime.now(timezone.utc) + timedelta(hours=1)

    @flow
    def calls() -> list[str]:
        options: dict[str, Any] = {"timeout": 0, "scheduled_time": later, "queue": f"{queue}-other"}
        return [run_deployment(name, as_subflow=as_subflow, **options).id for as_subflow in (True, False)]

    child, alone = [block(client().get_run(run_id)) for run_id in calls()]
    assert (child.queue, alone.queue) == (f"{queue}-other", f"{queue}-other")
    assert child.due_at == alone.due_at == pytest.approx(later.timestamp(), abs=1e-3)
    assert (child.parent_run_id != "", alone.parent_run_id, alone.root_run_id) == (True, "", alone.id)
    for run in (child, alone):
        block(client().cancel(run.id, ""))


def test_a_key_is_that_of_one_deployment(queue: str) -> None:
    one, other = deploy(deployed.holds, queue), deploy(deployed.holds, f"{queue}-other")

    def started(name: str) -> tuple[str, Optional[bool]]:
        handle = run_deployment(name, timeout=0, idempotency_key="order-7")
        return handle.id, handle.created

    async def awaited(name: str) -> tuple[str, Optional[bool]]:
        handle = await run_deployment(name, timeout=0, idempotency_key="order-7")
        return handle.id, handle.created

    (first, is_new), (of_other, other_is_new) = started(one), started(other)
    assert (is_new, other_is_new) == (True, True) and first != of_other
    assert started(one) == asyncio.run(awaited(one)) == (first, False)
    assert started(other) == (of_other, False)
    same, new = run_deployments(
        [DeploymentCall(one, idempotency_key="order-7"), DeploymentCall(one, idempotency_key="order-8")], timeout=0
    )
    assert (same.id, same.created, new.created) == (first, False, True)
    assert (get_run(first).created, run_deployment(one, timeout=0).created) == (None, True)
    explained = subprocess.run(
        [os.environ["TIDEGATE_BIN"], "run", "explain", first], capture_output=True, text=True, timeout=PATIENCE
    ).stdout
    assert f"It was made with the idempotency key `order-7` of deployment `{one}`; 3 later calls with that key" in explained
    assert "got this run instead of a new one." in explained


def test_a_run_may_require_labels_of_its_worker(processes: Processes, queue: str, tmp_path: Path) -> None:
    name = deploy(deployed.jot, queue)
    path = tmp_path / "names"
    processes.worker("-m", "tidegate", "serve", "deployed:jot", "--queue", queue, "--label", "zone=b")
    labels = {"gpu": "true", "zone": "a"}
    needy = run_deployment(name, {"path": str(path), "name": "needy"}, timeout=0, require_labels=labels)
    assert needy.run().required_labels == labels

    async def in_a_loop() -> Any:
        return await run_deployment(name, {"path": str(path), "name": "b"}, require_labels={"zone": "b"})

    assert asyncio.run(in_a_loop()).result() == "b"
    (plain,) = run_deployments([DeploymentCall(name, {"path": str(path), "name": "c"}, require_labels={"zone": "b"})])
    assert plain.result() == "c"
    assert needy.state.type == "SCHEDULED", "the worker that had time for two others lacks its labels"
    serving = ["-m", "tidegate", "serve", "deployed:jot", "--queue", queue]
    processes.worker(*serving, "--label", "zone=a", "--label", "gpu=true")
    assert needy.result(timeout=PATIENCE) == "needy"
    wrong: Any
    for wrong, told in [
        (["gpu"], "is ['gpu']: give a dict of texts, such as {\"gpu\": \"true\"}"),
        ({"gpu": True}, "'gpu': True is no pair of texts; labels are compared as texts, so write {'gpu': 'true'}"),
    ]:
        with pytest.raises(InvalidArgument) as raised:
            run_deployment(name, require_labels=wrong, timeout=0)
        assert str(raised.value).startswith(f"require_labels of a run of `{name}`")
        assert told in str(raised.value)


def test_what_cannot_be_is_told(queue: str) -> None:
    name = deploy(deployed.jot, queue)
    with pytest.raises(NotFound) as told:
        run_deployment(f"{name}x", {"path": "p", "name": "n"}, timeout=0)
    wanted = f"there is no deployment `{name}x` in this namespace: did you mean `{name}`"
    assert wanted in str(told.value)
    with pytest.raises(InvalidArgument) as wrong:
        run_deployment(name, {"path": 1, "name": "n"}, timeout=0)
    assert "parameters.path: 1 is not of type" in str(wrong.value)
    with pytest.raises(InvalidArgument, match='"name" is a required property'):
        run_deployment(name, {"path": "p"}, timeout=0)
    with pytest.raises(InvalidArgument, match="its name has the form `flow/deployment`"):
        run_deployment("nightly", timeout=0)
    with pytest.raises(InvalidArgument, match="no name of a deployment"):
        deployed.jot.deploy("etl/nightly")
    with pytest.raises(InvalidArgument, match="on_collision='skp'"):
        deployed.jot.deploy("nightly", on_collision="skp")

    @task
    def no_flow() -> None: ...

    with pytest.raises(TypeError, match="has no option `name`"):
        no_flow.serve(name="nightly")


def test_deploying_again_changes_what_is_different(queue: str) -> None:
    first = deployed.jot.deploy(queue, queue=queue)
    same = deployed.jot.deploy(queue, queue=queue)
    other = asyncio.run(_deployed(deployed.jot.with_options(retries=3), queue))
    versions = [(each.version, each.created) for each in (first, same, other)]
    assert versions == [(1, True), (1, False), (2, False)]


async def _deployed(function: Any, queue: str) -> Any:
    return await function.deploy(queue, queue=queue)


def test_the_schema_is_that_of_the_signature() -> None:
    class Opaque: ...

    @flow
    def function(
        n: int, /, day: Optional[str] = None, *rest: float, opaque: Opaque = Opaque(), plain=7, **others: bool  # type: ignore[no-untyped-def]
    ) -> None: ...

    schema = json.loads(_schema.of_parameters(function._parameters))
    assert (schema["required"], schema["additionalProperties"]) == (["n"], False)
    properties = schema["properties"]
    assert properties["n"] == {"type": "integer"}
    assert {"type": "null"} in properties["day"]["anyOf"] and properties["day"]["default"] is None
    assert properties["rest"] == {"type": "array", "items": {"type": "number"}}
    assert (properties["opaque"], properties["plain"]) == ({}, {"default": 7})
    assert properties["others"] == {"type": "object", "additionalProperties": {"type": "boolean"}}


def test_a_parent_that_is_killed_starts_no_child_again(processes: Processes, queue: str, tmp_path: Path) -> None:
    """A fan-out of 200: 200 children, not 400."""
    jot = deploy(deployed.jot.with_options(execution="thread"), queue)
    fan_out = deploy(deployed.fan_out, queue)
    path, marker = tmp_path / "names", tmp_path / "attempts"
    first = processes.worker("deployed.py", queue)
    handle = run_deployment(fan_out, {"path": str(path), "marker": str(marker), "deployment": jot, "n": 200}, timeout=0)
    until(lambda: lines_of(marker))
    first.send_signal(signal.SIGKILL)
    first.wait(PATIENCE)
    second = processes.worker("deployed.py", queue)
    names = [f"n{i % 150}" for i in range(200)]
    assert handle.result(timeout=4 * PATIENCE) == names
    assert lines_of(marker) == [str(first.pid), str(second.pid)]
    page, token = block(client().list_runs(f'deployment = "{jot}" parent_run_id = {handle.id}', 1_000, ""))
    assert (len(page), token) == (200, "")
    executed = Counter(lines_of(path))
    assert executed.keys() == set(names)


def test_a_parent_that_is_killed_between_its_calls_goes_on_with_the_next(
    processes: Processes, queue: str, tmp_path: Path
) -> None:
    """200 calls, killed after the 80th: 200 children, not 280."""
    jot = deploy(deployed.jot.with_options(execution="thread"), queue)
    one_by_one = deploy(deployed.one_by_one, queue)
    path, marker = tmp_path / "names", tmp_path / "hangs"
    first = processes.worker("deployed.py", queue)
    parameters = {"path": str(path), "marker": str(marker), "deployment": jot, "n": 200, "n_first": 80}
    handle = run_deployment(one_by_one, parameters, timeout=0)
    until(lambda: lines_of(marker))
    children = f'deployment = "{jot}" parent_run_id = {handle.id}'
    before, _ = block(client().list_runs(children, 1_000, ""))
    assert len(before) == 80
    first.send_signal(signal.SIGKILL)
    first.wait(PATIENCE)
    processes.worker("deployed.py", queue)
    names = [f"n{i % 150}" for i in range(200)]
    assert handle.result(timeout=4 * PATIENCE) == names
    assert handle.run().attempt == 2
    after, token = block(client().list_runs(children, 1_000, ""))
    assert (len(after), token) == (200, "")
    assert {run.id for run in before} <= {run.id for run in after}
    assert Counter(lines_of(path)).keys() == set(names)


def test_what_the_workers_of_a_pool_start_is_told_the_server(queue: str) -> None:
    with pytest.raises(NotFound, match="no work pool `no-such-pool`"):
        deployed.jot.deploy(
            queue,
            work_pool="no-such-pool",
            source=GitSource("https://example.org/etl", ref="v1"),
            job_variables={"env": {"A": "1"}},
        )
    for wrong, told in [
        ({"source": "/srv/etl"}, "work_pool="),
        ({"work_pool": "p", "command": "make report"}, "as a list"),
        ({"work_pool": "p", "job_variables": {"a": object()}}, "no JSON object"),
        ({"work_pool": "p", "source": 7}, "GitSource"),
        ({"work_pool": "p", "command": ["make"], "entrypoint": "a:b"}, "command"),
    ]:
        with pytest.raises(InvalidArgument, match=told):
            deployed.jot.deploy(queue, **wrong)
    name = deploy(deployed.jot, queue)
    with pytest.raises(InvalidArgument, match="job_variables"):
        run_deployment(name, {"path": "p", "name": "n"}, job_variables={"env": {}}, timeout=0)
