"""A server inside of the process: TIDEGATE_EPHEMERAL=1, and `tidegate.testing`."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

import tidegate
from conftest import HERE, PATIENCE
from tidegate import InvalidArgument, RunFailed, ServerUnavailable, flow, get_run, get_run_logger, task
from tidegate._connection import block, client
from tidegate.testing import Server, ephemeral_server, new_namespace, worker


@task
def double(n: int) -> int:
    get_run_logger().info("doubling %d", n)
    return 2 * n


@task
def fails() -> None:
    raise ValueError("no")


@flow
def quadruple(n: int) -> int:
    return int(double.delay(double(n)).result())


def run(script: str, *, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in an environment that says nothing of Tidegate but `environment`."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**plain, **environment}, cwd=HERE, capture_output=True, text=True,
        timeout=PATIENCE,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def runs() -> list[Any]:
    return list(block(client().list_runs("", 100, ""))[0])


def test_a_script_needs_nothing_but_a_variable() -> None:
    script = """
import os
from tidegate import flow, get_run, get_run_logger, task

@task
def double(n):
    get_run_logger().info("doubling %d", n)
    return 2 * n

@flow
def sum_up(n):
    return sum(future.result() for future in double.map(range(n)))

assert "TIDEGATE_ADDRESS" not in os.environ
print(sum_up(4))
print(os.environ["TIDEGATE_ADDRESS"])
"""
    value, address = run(script, TIDEGATE_EPHEMERAL="1").stdout.split()
    assert value == "12"
    with pytest.raises(OSError, match="refused"):  # it ended with the script
        urllib.request.urlopen(address, timeout=PATIENCE)


def test_processes_that_a_script_starts_use_its_server() -> None:
    script = """
import subprocess, sys
from tidegate import get_run, task
from tidegate.testing import worker
from work import add

@task
def there(): ...

with worker(there):
    there.delay().result()
handle = add.delay(1, 2)
served = subprocess.Popen([sys.executable, "work.py"], stderr=subprocess.DEVNULL)
print(handle.result(60))
served.terminate()
served.wait()
"""
    assert run(script, TIDEGATE_EPHEMERAL="true").stdout.split() == ["3"]


def test_what_is_wrong_with_the_variable_is_said() -> None:
    script = """
from tidegate import InvalidArgument, task
@task
def double(n): return 2 * n
try:
    double(1)
except InvalidArgument as error:
    print(error)
"""
    assert run(script, TIDEGATE_EPHEMERAL="memory").stdout.strip() == (
        "TIDEGATE_EPHEMERAL is `memory`: set it to 1 to have a server inside of this process, or unset it"
    )
    assert run(script, TIDEGATE_EPHEMERAL="1", TIDEGATE_ADDRESS="http://db:4400").stdout.strip() == (
        "TIDEGATE_EPHEMERAL=1 asks for a server inside of this process, but TIDEGATE_ADDRESS names one at http://db:4400: "
        "unset one of them"
    )


def test_a_block_has_a_server_of_its_own() -> None:
    before = os.environ.get("TIDEGATE_ADDRESS")
    with ephemeral_server() as outer:
        assert os.environ["TIDEGATE_ADDRESS"] == outer.address
        assert double(1) == 2
        with ephemeral_server() as inner:
            assert inner.address != outer.address
            assert runs() == []
        assert [run.name for run in runs()] == ["double"]
        handle = get_run(runs()[0].id)
    assert os.environ.get("TIDEGATE_ADDRESS") == before
    with ephemeral_server(), pytest.raises(tidegate.NotFound):
        handle.run()


def test_a_namespace_sees_nothing_of_others() -> None:
    with ephemeral_server():
        double(1)
        with new_namespace() as server:
            assert os.environ["TIDEGATE_NAMESPACE"] == server.namespace
            assert runs() == []
            double(2)
            assert len(runs()) == 1
        assert [run.name for run in runs()] == ["double"]


def test_a_worker_executes_what_is_delayed() -> None:
    with ephemeral_server(), worker(quadruple, double, fails):
        assert quadruple.delay(3).result(PATIENCE) == 12
        with pytest.raises(RunFailed, match="ValueError: no"):
            fails.delay().result(PATIENCE)


def test_a_worker_sees_what_a_test_has_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(double, "fn", lambda n: 100 * n)
    with ephemeral_server(), worker(quadruple, double):
        assert quadruple.delay(1).result(PATIENCE) == 10_000


def test_a_worker_that_is_refused_says_why() -> None:
    with pytest.raises(InvalidArgument, match="decorate it first"), ephemeral_server(), worker(len):  # type: ignore[arg-type]
        pass


def test_the_fixture_has_a_namespace_of_its_own(tidegate_server: Server, tidegate_session_server: Server) -> None:
    assert tidegate_server.address == tidegate_session_server.address == client().address
    assert tidegate_server.namespace != tidegate_session_server.namespace
    assert runs() == []
    double(1)


def test_and_so_has_the_next(tidegate_server: Server) -> None:
    assert runs() == []


def test_without_pytest_nothing_of_it_is_imported() -> None:
    run("import sys, tidegate.testing; assert 'pytest' not in sys.modules")


def test_logs_are_kept_when_a_block_ends() -> None:
    with ephemeral_server():
        with new_namespace():
            double(1)
            id = runs()[0].id
            namespace = os.environ["TIDEGATE_NAMESPACE"]
        os.environ["TIDEGATE_NAMESPACE"] = namespace
        try:
            with tidegate._connection.another_client():
                assert get_run(id).logs() == ["doubling 1"]
        finally:
            del os.environ["TIDEGATE_NAMESPACE"]


def test_the_server_is_gone_after_its_block() -> None:
    with ephemeral_server() as server:
        double(1)
    script = "from tidegate import get_run; get_run('0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b').result()"
    done = run(script, check=False, TIDEGATE_ADDRESS=server.address)
    assert done.returncode == 1 and ServerUnavailable.__name__ in done.stderr


def test_a_worker_on_a_thread_of_the_script_does_not_hold_the_end_up() -> None:
    script = """
import threading
from tidegate import serve
from work import add

threading.Thread(target=serve, args=(add,), daemon=True).start()
print(add.delay(3, 4).result())
"""
    done = run(script, TIDEGATE_EPHEMERAL="1")
    assert done.stdout == "7\n"
    assert "embedded server" not in done.stderr
