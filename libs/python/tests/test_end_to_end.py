"""Against a real server, with workers in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import work
from conftest import HERE, PATIENCE, Processes, until
from test_any_language import stubs  # noqa: F401: a fixture
from tidegate import InvalidArgument, NotFound, RunCancelled, RunFailed, WaitTimeout, find_runs, flow, gather, get_run, unmapped
from tidegate._connection import block, client
from tidegate.errors import AlreadyExists

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def queue() -> str:
    """A queue of this test alone, so that no worker of another test takes its runs."""
    return f"q-{uuid.uuid4().hex[:12]}"


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_worker_executes_and_a_third_process_has_the_result(processes: Processes, queue: str) -> None:
    processes.worker("work.py", queue)
    handle = work.pid.with_options(queue=queue).delay()
    executed_by = handle.result(timeout=PATIENCE)
    assert executed_by != os.getpid()
    program = f"import tidegate; print(tidegate.get_run('{handle.id}').result())"
    assert processes.run("-c", program).strip() == str(executed_by)
    assert handle.state.is_completed()


def test_sync_async_and_awaiting(processes: Processes, queue: str) -> None:
    processes.worker("work.py", queue)

    async def both() -> tuple[int, int]:
        one = work.add.with_options(queue=queue).delay(1, 2)
        two = work.add_async.with_options(queue=queue).delay(3, 4)
        return await one, await two

    import asyncio

    assert asyncio.run(both()) == (3, 7)


def test_values_that_are_no_json_travel_as_pickles(processes: Processes, queue: str) -> None:
    processes.worker("work.py", queue)
    handle = work.opaque.with_options(queue=queue).delay({"a", "b"})
    assert handle.result(timeout=PATIENCE) == {"a", "b", "more"}


def test_a_fan_out_of_a_flow(processes: Processes, queue: str) -> None:
    processes.worker("work.py", queue)
    handle = work.fans_out.with_options(queue=queue).delay(200)
    assert handle.result(timeout=PATIENCE) == sum(range(200)) + 200


def test_a_flow_of_a_worker_answers_for_what_it_submitted(processes: Processes, queue: str, tmp_path: Path) -> None:
    processes.worker("work.py", queue)
    path = tmp_path / "ended"
    handle = work.leaves_work.with_options(queue=queue).delay(str(path))
    unseen = r"TidegateError: 1 submitted run failed and nobody asked for its result: raises \(.*KeyError: 'lost'"
    with pytest.raises(RunFailed, match=unseen):
        handle.result(timeout=PATIENCE)
    assert lines_of(path) == ["late"], "it did not end before that"


def test_the_work_of_a_killed_worker_is_delivered_again(processes: Processes, queue: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    worker = processes.worker("work.py", queue)
    handle = work.hangs.with_options(queue=queue).delay(str(marker))
    until(lambda: lines_of(marker) and handle.state.is_running())
    worker.send_signal(signal.SIGKILL)
    processes.worker("work.py", queue)
    handle.result(timeout=PATIENCE)
    first, second = lines_of(marker)
    assert first == str(worker.pid) != second
    assert handle.run().crashes == 1


def test_a_flow_that_crashed_finds_its_children(processes: Processes, queue: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    processes.worker("work.py", queue)
    handle = work.crashes_once.with_options(queue=queue).delay(str(marker))
    until(lambda: lines_of(marker))
    processes.worker("work.py", queue)
    handle.result(timeout=PATIENCE)
    first, second = lines_of(marker)
    assert first == second, "the second attempt has the same children"


@pytest.mark.parametrize("whom", ["process", "worker"])
def test_a_flow_that_was_killed_does_not_repeat_what_completed(
    processes: Processes, queue: str, tmp_path: Path, whom: str
) -> None:
    path = tmp_path / "executions"
    processes.worker("work.py", queue)
    handle = work.is_killed_midway.with_options(queue=queue).delay(str(path), whom)
    until(lambda: "whole" in lines_of(path))
    processes.worker("work.py", queue)
    results = handle.result(timeout=PATIENCE)
    many = {"called": 10, "submitted": 10, "queued": 20, "elsewhere": 3, "called-elsewhere": 1}
    names = [f"{kind}-{n}" for kind in many for n in range(many[kind])]
    assert sorted(results) == sorted([*names, "same", "same", "below", "below"])
    executions = Counter(lines_of(path))
    twice = ["same", "below", "always-new", "always-new-queued", "unkept", "anything", "whole"]
    assert executions == Counter({**{name: 1 for name in names}, **{name: 2 for name in twice}})
    assert handle.run().attempt == 2


@pytest.mark.parametrize("name", ["fails_midway", "fails_midway_here"])
def test_a_flow_that_is_tried_again_tries_what_failed_again(
    processes: Processes, queue: str, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "executions"
    processes.worker("work.py", queue)
    results = getattr(work, name).with_options(queue=queue).delay(str(path)).result(timeout=PATIENCE)
    assert Counter(lines_of(path)) == {"fine": 1, results[1]: 2}


def test_a_child_that_an_earlier_attempt_still_executed_is_handed_on(
    processes: Processes, queue: str, tmp_path: Path
) -> None:
    path = tmp_path / "executions"
    os.mkfifo(f"{path}.pipe")
    processes.worker("work.py", queue)
    handle = work.leaves_its_child.with_options(queue=queue).delay(str(path))
    assert handle.result(timeout=PATIENCE) == 1
    assert Counter(lines_of(path)) == {"called": 2, "executed": 2}


def test_the_server_decides_on_retries(processes: Processes, queue: str, tmp_path: Path) -> None:
    processes.worker("work.py", queue)
    handle = work.third_time.with_options(queue=queue).delay(str(tmp_path / "attempts"))
    assert handle.result(timeout=PATIENCE) == 3
    assert handle.run().attempt == 3


def test_a_person_has_a_run_tried_again(processes: Processes, queue: str, tmp_path: Path) -> None:
    processes.worker("work.py", queue)
    handle = work.fails_at_first.with_options(queue=queue).delay(str(tmp_path / "attempts"), "again")
    with pytest.raises(RunFailed, match="not yet"):
        handle.result(timeout=PATIENCE)
    handle.retry("the cause is mended")
    assert handle.result(timeout=PATIENCE) == "again"
    assert handle.run().attempt == 2
    with pytest.raises(NotFound):
        get_run("0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b").retry()


def test_failures_tell_their_cause(processes: Processes, queue: str) -> None:
    processes.worker("work.py", queue)
    with pytest.raises(RunFailed) as failed:
        work.raises.with_options(queue=queue).delay("missing").result(timeout=PATIENCE)
    assert failed.value.error_type == "KeyError"
    assert "in raises" in failed.value.traceback
    hopeless = work.hopeless.with_options(queue=queue).delay()
    error = hopeless.result(timeout=PATIENCE, raise_on_failure=False)
    assert isinstance(error, RunFailed) and error.error_message == "no use in trying again"
    assert hopeless.run().attempt == 1


def test_a_run_that_takes_too_long_is_stopped(processes: Processes, queue: str) -> None:
    processes.worker("work.py", queue)
    handle = work.too_slow.with_options(queue=queue).delay()
    with pytest.raises(RunFailed):
        handle.result(timeout=PATIENCE)
    assert handle.state.name == "TimedOut"


def test_a_cancel_reaches_the_code(processes: Processes, queue: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    processes.worker("work.py", queue)
    handle = work.sleeps_until_told.with_options(queue=queue).delay(str(marker))
    until(lambda: lines_of(marker))
    assert handle.cancel("not needed any more") == 1
    with pytest.raises(RunCancelled):
        handle.result(timeout=PATIENCE)
    # The slot is free again.
    assert work.add.with_options(queue=queue).delay(1, 1).result(timeout=PATIENCE) == 2


def test_a_busy_interpreter_keeps_its_lease(processes: Processes, queue: str) -> None:
    processes.worker("work.py", queue)
    handle = work.computes.with_options(queue=queue).delay(60.0)  # twelve leases of `tidegate dev`
    handle.result(timeout=2 * PATIENCE)
    assert (handle.run().attempt, handle.run().crashes) == (1, 0)


def test_logs_and_prints_are_kept(processes: Processes, queue: str) -> None:
    processes.worker("work.py", queue)
    added = work.add.with_options(queue=queue).delay(1, 2)
    said = work.say.with_options(queue=queue).delay("hello")
    gather([added, said], timeout=PATIENCE)
    until(lambda: added.logs() == ["adding 1 and 2"])
    until(lambda: said.logs() == ["said hello"])


def test_a_worker_drains_at_sigterm(processes: Processes, queue: str, tmp_path: Path) -> None:
    worker = processes.worker("work.py", queue)
    handle = work.computes.with_options(queue=queue).delay(1.0)
    until(lambda: handle.state.is_running())
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0
    assert handle.state.is_completed()


def test_a_worker_ends_without_code_that_does_not(processes: Processes, queue: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    worker = processes.worker("work.py", queue)
    work.deaf.with_options(queue=queue).delay(str(marker))
    until(lambda: lines_of(marker))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0


def test_a_second_signal_ends_a_worker_at_once(processes: Processes, queue: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    worker = processes.start("work.py", queue)
    work.deaf.with_options(queue=queue).delay(str(marker))
    until(lambda: lines_of(marker))
    worker.send_signal(signal.SIGTERM)
    assert worker.stderr is not None
    assert any("SIGTERM" in line for line in worker.stderr)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(PATIENCE) == 128 + signal.SIGINT


def test_keys_and_delays(processes: Processes, queue: str) -> None:
    later = work.add.with_options(queue=queue, countdown=0.5, idempotency_key=f"once-{queue}")
    one, two = later.delay(1, 2), later.delay(1, 2)
    assert one == two
    assert one.state.type == "SCHEDULED"
    with pytest.raises(WaitTimeout):
        one.result(timeout=0.05)
    processes.worker("work.py", queue)
    assert one.result(timeout=PATIENCE) == 3


def test_a_key_is_made_of_the_parameters(processes: Processes, queue: str, tmp_path: Path) -> None:
    path = tmp_path / "executions"
    keyed = work.counted.with_options(queue=queue, idempotency_key=f"{queue} {{{{}}}} {{name}}")
    handles = keyed.delay_map(unmapped(str(path)), ["a", "b", "a", "c", "b"])
    assert handles[2:] == [handles[0], handles[3], handles[1]] and len(set(handles)) == 3
    assert keyed.delay(str(path), "c") == handles[3], "and of those of a later call"
    (found,) = find_runs(idempotency_key=f"{queue} {{}} a", name="counted")
    assert found == handles[0]
    processes.worker("work.py", queue)
    assert [handle.result(timeout=PATIENCE) for handle in handles] == ["a", "b", "a", "c", "b"]
    assert Counter(lines_of(path)) == {"a": 1, "b": 1, "c": 1}
    with pytest.raises(AlreadyExists):
        keyed.delay(str(tmp_path / "elsewhere"), "a")
    with pytest.raises(InvalidArgument) as told:
        work.counted.with_options(idempotency_key="{day}").delay("p", "n")
    assert str(told.value) == (
        "the idempotency_key '{day}' of `counted` cannot be filled in: KeyError('day'); it may use path, name"
    )


#: What any client is told of the policies of a run.
POLICIES = """
import os, sys
import grpc
from google.protobuf.json_format import MessageToJson
from tidegate.v1 import run_service_pb2 as messages, run_service_pb2_grpc as services

with grpc.insecure_channel(os.environ["TIDEGATE_ADDRESS"].removeprefix("http://")) as channel:
    answer = services.RunServiceStub(channel).GetRun(messages.GetRunRequest(run_id=sys.argv[1]))
    print(MessageToJson(answer.run.policies, preserving_proto_field_name=True))
"""


def test_policies_reach_the_run(server: str, stubs: str, queue: str) -> None:  # noqa: F811
    options: dict[str, Any] = {
        "retries": 4,
        "retry_delay_seconds": lambda retries: [2**n for n in range(retries)],
        "retry_jitter_factor": 0.25,
        "retry_on": [ValueError],
        "never_retry_on": ["TimedOut"],
        "max_crashes": 1,
        "timeout_seconds": 90,
        "cancel_grace_seconds": 5,
    }
    handle = work.add.with_options(queue=queue, **options).delay(1, 2)
    env = {"PYTHONPATH": stubs, "TIDEGATE_ADDRESS": server}
    told = json.loads(subprocess.check_output([sys.executable, "-c", POLICIES, handle.id], env=env, timeout=PATIENCE))
    assert told["retry"] == {
        "max_retries": 4,
        "delays": ["1s", "2s", "4s", "8s"],
        "backoff_factor": 1.0,
        "max_delay": "3600s",
        "jitter_factor": 0.25,
        "retry_on": ["ValueError"],
        "never_retry_on": ["TimedOut"],
    }
    assert (told["crash"], told["run_timeout"], told["cancel_grace"]) == ({"max_crashes": 1}, "90s", "5s")


@pytest.mark.parametrize(("name", "n_begun"), [("asks", 1), ("asks_async", 1), ("suspends", 3), ("suspends_async", 3)])
def test_code_waits_until_it_is_resumed(
    processes: Processes, queue: str, tmp_path: Path, name: str, n_begun: int
) -> None:
    path = tmp_path / "executions"
    processes.worker("work.py", queue)
    handle = getattr(work, name).with_options(queue=queue).delay(str(path))
    for answer in ([1, 2], {"n": 3}):
        until(lambda: handle.state.type == "PAUSED")
        handle.resume(answer)
    assert handle.result(timeout=PATIENCE) == [[1, 2], {"n": 3}]
    assert len(lines_of(path)) == n_begun


def test_a_queued_run_is_paused_from_outside(processes: Processes, queue: str) -> None:
    handle = work.add.with_options(queue=queue).delay(1, 2)
    handle.pause(reason="not yet")
    assert handle.state.type == "PAUSED"
    processes.worker("work.py", queue)
    handle.resume()
    assert handle.result(timeout=PATIENCE) == 3


def test_a_cached_result_serves_the_next_run(processes: Processes, queue: str, tmp_path: Path) -> None:
    path = tmp_path / "executions"
    processes.worker("work.py", queue)
    cached = work.counted.with_options(queue=queue, cache_key=f"{queue} {{name}}", cache_expiration=3600)
    assert cached.delay(str(path), "a").result(timeout=PATIENCE) == "a"
    again = cached.delay(str(path), "a")
    assert again.result(timeout=PATIENCE) == "a" and again.state.name == "Cached"
    assert cached.delay(str(path), "b").result(timeout=PATIENCE) == "b"
    assert lines_of(path) == ["a", "b"]


def test_a_run_expires(queue: str) -> None:
    handle = work.add.with_options(queue=queue, expires=1.5).delay(1, 2)
    with pytest.raises(RunCancelled):
        handle.result(timeout=PATIENCE)
    assert handle.state.name == "Expired"


def test_what_a_run_is_found_by(queue: str) -> None:
    options = {"labels": {"team": queue}, "concurrency_limits": ["db"], "cache_key": queue}
    run = work.add.with_options(queue=queue, **options).delay(1, 2).run()
    assert run.labels == {"team": queue}
    assert (run.concurrency_limits, run.cache_key) == (["db"], queue)
    found, _ = block(client().list_runs(f'labels.team = "{queue}"', 10, ""))
    assert [each.id for each in found] == [run.id]


def test_every_option_of_a_delay_reaches_the_run(queue: str) -> None:
    eta = datetime.now(timezone.utc) + timedelta(hours=1)
    options = {
        "queue": queue,
        "eta": eta,
        "expires": eta + timedelta(hours=1),
        "priority": 7,
        "idempotency_key": f"once-{queue}",
        "fairness_key": "customer 7",
        "require_labels": {"gpu": "true"},
        "labels": {"team": "blue"},
    }
    handle = work.add.with_options(**options).delay(1, 2)
    run = handle.run()
    assert (run.queue, run.priority, run.fairness_key) == (queue, 7, "customer 7")
    assert (run.labels, run.required_labels, run.preferred_worker) == ({"team": "blue"}, {"gpu": "true"}, "")
    assert work.add.with_options(**options).delay(1, 2) == handle
    at = json.loads(subprocess.check_output([os.environ["TIDEGATE_BIN"], "run", "get", handle.id, "-o", "json"]))
    due_at, expires_at = (datetime.fromisoformat(at[each].replace("Z", "+00:00")) for each in ("due_at", "expires_at"))
    assert (due_at, expires_at) == (eta, eta + timedelta(hours=1))
    found, _ = block(client().list_runs(f'queue = "{queue}" fairness_key = "customer*" due_at > +59m', 10, ""))
    assert [each.id for each in found] == [handle.id]
    counted = work.add.with_options(queue=queue, countdown=3600, expires=7200.0).delay(1, 2)
    found, _ = block(client().list_runs(f'queue = "{queue}" due_at < +61m expires_at > +119m', 10, ""))
    assert counted.id in [each.id for each in found]


def test_a_run_goes_to_a_worker_with_the_labels_that_it_requires(processes: Processes, queue: str) -> None:
    plain = processes.worker("work.py", queue)
    needy = work.pid.with_options(queue=queue, require_labels={"gpu": "true"}).delay()
    assert work.pid.with_options(queue=queue).delay().result(timeout=PATIENCE) == plain.pid
    assert needy.state.type == "SCHEDULED"
    able = processes.worker("work.py", queue, "gpu=true", "zone=a")
    assert needy.result(timeout=PATIENCE) == able.pid


def test_a_sticky_child_prefers_the_worker_of_its_parent(processes: Processes, queue: str) -> None:
    worker = processes.worker("work.py", queue)
    parent, child, preferred = work.delays_sticky.with_options(queue=queue).delay().result(timeout=PATIENCE)
    assert parent == child == worker.pid and f":{worker.pid}:" in preferred


def test_a_child_may_outlive_the_failure_of_its_parent(queue: str) -> None:
    handles = []

    @flow(labels={"team": "blue"})
    def fails() -> None:
        child = work.add.with_options(queue=queue, inherit_labels=True)
        handles.append(child.delay(1, 2))
        handles.append(child.with_options(detached_on_failure=True).delay(1, 2))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    bound, detached = handles
    until(lambda: bound.state.is_cancelled())
    assert detached.state.type == "SCHEDULED"
    assert detached.run().labels == {"team": "blue"}


def test_a_run_that_is_not_there() -> None:
    with pytest.raises(NotFound):
        get_run("0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b").result(timeout=PATIENCE)


def test_a_forked_child_makes_its_own_connection(processes: Processes, queue: str) -> None:
    processes.worker("work.py", queue)
    program = f"""
import os, work
add = work.add.with_options(queue={queue!r})
assert add.delay(1, 1).result() == 2
child = os.fork()
if not child:
    assert add.delay(2, 2).result() == 4
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert add.delay(3, 3).result() == 6
print("both")
"""
    assert processes.run("-c", program).strip() == "both"


def test_the_inventory_is_right(processes: Processes, queue: str, server: str) -> None:
    """What the example says of this package is what find, wc and sha256sum say."""
    example = HERE.parent / "examples" / "inventory.py"
    folder = HERE.parent / "python"
    processes.worker(str(example), "--serve")
    inventory = json.loads(processes.run(str(example), str(folder)))

    def shell(command: str) -> str:
        return subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True, text=True).stdout

    prune = r"find . -type d \( -name .git -o -name .venv -o -name node_modules -o -name target \) -prune -o -type f"
    assert inventory["files"] == int(shell(f"{prune} -print | wc -l"))
    assert inventory["lines"] == int(shell(f"{prune} -exec cat {{}} + | wc -l"))
    assert inventory["bytes"] == int(shell(f"{prune} -exec cat {{}} + | wc -c"))
    for part in inventory["folders"]:
        inside = "-maxdepth 1" if part["folder"] == "." else ""
        names = sorted(shell(f"find {part['folder']} {inside} -type f").splitlines())
        names = [name.removeprefix("./") for name in names]
        listing = "".join(shell(f"sha256sum '{name}'") for name in names)
        assert part["fingerprint"] == hashlib.sha256(listing.encode()).hexdigest(), part["folder"]
    assert re.fullmatch("[a-z_]+", inventory["words"][0][0])
