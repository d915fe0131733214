"""Programs written for Prefect, run as they are by ``python -m tidegate.compat.prefect`` against a real server."""

from __future__ import annotations

import ast
import importlib
import logging
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

import tidegate.compat.prefect
from conftest import PATIENCE, Processes, until
from running import INSTALLED, SCRIPTS, run, runs, states
from tidegate import get_run, get_run_logger
from tidegate.compat.prefect._logs import disable_run_logger

pytestmark = pytest.mark.usefixtures("server")


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_knows_nothing_of_tidegate(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(), str(script))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            others = top == "pydantic" or top in sys.stdlib_module_names or (SCRIPTS / f"{top}.py").exists()
            assert top == "prefect" or others, f"{script}: {name}"


def test_a_graph_of_which_nothing_is_awaited(processes: Processes) -> None:
    out = run(processes, "dag")
    assert out.splitlines() == ["done 2, not done 0", "loaded 120", "told"]
    (flow,) = runs('flow = "graph"')
    assert flow.state[0] == "COMPLETED"
    children = states(f'parent_run_id = "{flow.id}"')
    assert {name: len(found) for name, found in children.items()} == {"extract": 1, "transform": 3, "load": 1, "notify": 1}
    assert set(sum(children.values(), [])) == {"COMPLETED"}


def test_subflows_at_the_same_time(processes: Processes) -> None:
    out = run(processes, "subflows")
    assert out.splitlines() == ["parts 3 2", "['met', 'met']", "['met', 'met']", "[10, 20, 30]", "[20, 40, 60]", "whole 3"]
    (flow,) = runs('flow = "whole"')
    parts = runs(f'parent_run_id = "{flow.id}" flow = "part"')
    assert sorted(part.run_name for part in parts) == ["part-a", "part-b", "part-c", "part-d"]


def test_states(processes: Processes) -> None:
    out = run(processes, "states")
    assert out.splitlines() == [
        "raised broken",
        "7 1 [1, 1]",
        "failed: not today",
        "failed: 1/2 states failed.",
        "cancelled",
        "out of time TimedOut",
        "looked at ValueError('broken')",
        "UpstreamFailed True",
        "UpstreamFailed True True",
        "broken",
    ]
    (flow,) = runs('flow = "main"')
    assert states(f'parent_run_id = "{flow.id}" kind = FLOW') == {
        "returns-data": ["COMPLETED"],
        "returns-failure": ["FAILED"],
        "returns-states": ["FAILED"],
        "returns-futures": ["COMPLETED"],
        "returns-future": ["COMPLETED"],
        "is-cancelled": ["CANCELLED"],
    }
    said = {run.name: run.state[2] for run in runs(f'parent_run_id = "{flow.id}" kind = FLOW')}
    assert (said["returns-data"], said["returns-failure"]) == ("all is well", "not today"), "as the code has said"
    assert said["returns-states"] == "1/2 states failed."


@pytest.mark.every_python
def test_async_code(processes: Processes) -> None:
    out = run(processes, "asynchronous")
    assert out.splitlines() == ["[0, 2, 4] [0, 2, 4] 5", "sum 6"]


@pytest.mark.every_python
def test_names_that_are_not_there(processes: Processes) -> None:
    out = run(processes, "names", "one", "-x")
    secret, nothing, module, option, visualize, source, last = out.splitlines()
    assert "`prefect.blocks` is not there" in secret and "environment" in secret
    assert "`prefect.nothing` is not there" in nothing and "README" in nothing
    assert "`prefect.nothing` is not there" in module
    assert "@flow has no option `infrastructure`" in option
    assert "`prefect.Flow.visualize` is not there" in visualize and "tidegate run tree" in visualize
    assert "`prefect.Flow.from_source` is not there" in source and "import the flow" in source
    assert last == "['one', '-x'] __main__ wait"


def test_what_code_can_ask_of_its_run(processes: Processes) -> None:
    out = run(processes, "contexts")
    assert out.splitlines() == [
        "no run None {} []",
        "outer The outer flow {'n': 3} True",
        "{'name': 'look at 3', 'tags': ['blue', 'green', 'red'], 'parameters': {'n': 3}, 'count': 1} look at 4",
        "inner with 3 []",
        "True The inner flow.",
    ]


def worker(processes: Processes) -> subprocess.Popen[str]:
    """Starts a worker of the script `background`."""
    return processes.worker("-m", "tidegate.compat.prefect", str(SCRIPTS / "background.py"))


def test_work_for_a_worker_and_its_results_from_any_process(processes: Processes) -> None:
    first = worker(processes)
    task_id, *flow_ids = run(processes, "submitting").split()
    assert [get_run(run_id).state.name for run_id in (task_id, *flow_ids)] == ["Completed"] * 4
    renamed = runs('run_name = "job*"')
    assert sorted(run.run_name for run in renamed) == ["job to 9", "job-0", "job-1", "job-2"]
    assert {run.name for run in renamed} == {"resize"}, "a name that with_options gave is that of the run"
    first.kill()  # results are the server's
    assert run(processes, "attaching", task_id, *flow_ids).splitlines() == [
        "task Completed a.png@100",
        "future a.png@100",
        "flow True {'n': 2, 'title': 'yearly'} {'title': 'yearly', 'paths': ['0.png@100', '1.png@100']}",
        "flow True {'n': 1, 'title': 'report'} {'title': 'report', 'paths': ['0.png@100']}",
        "flow True {'n': 2, 'title': 'report'} {'title': 'report', 'paths': ['0.png@100', '1.png@100']}",
        "logs ['yearly 2']",
        "a flow's id is no run's",
        "sync yearly True",
    ]
    (submitter,) = runs('flow = "submits"')
    assert states(f'parent_run_id = "{submitter.id}"') == {"report": ["COMPLETED", "COMPLETED"]}


def test_a_worker_of_tasks_alone_and_what_they_log(processes: Processes) -> None:
    processes.worker("-m", "tidegate.compat.prefect", str(SCRIPTS / "brewing.py"), "serve")
    assert run(processes, "brewing", "tea") == "TEA\n"
    (brewed,) = runs('name = "brews"')
    until(lambda: get_run(brewed.id).logs() == ["brewing tea"])


def test_blocks_without_run_loggers_may_overlap() -> None:
    logger = get_run_logger()
    first, second = disable_run_logger(), disable_run_logger()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not logger.isEnabledFor(logging.CRITICAL), "the second has not ended"
    second.__exit__(None, None, None)
    assert logger.isEnabledFor(logging.DEBUG)


def test_the_web_server_of_a_runner_tells_its_health(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_RUNNER_SERVER_ENABLE", "true")
    monkeypatch.setenv("PREFECT_RUNNER_SERVER_PORT", "0")
    started = processes.start("-m", "tidegate.compat.prefect", str(SCRIPTS / "background.py"))
    assert started.stderr is not None
    line = next(line for line in started.stderr if "its health is at " in line)
    address = line.split(" at ", 1)[1].strip().removesuffix("/readyz")
    assert address.startswith("http://127.0.0.1:")

    def is_well() -> bool:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=PATIENCE) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            assert error.code == 503
            return False

    until(is_well)


def test_a_killed_worker_loses_nothing(processes: Processes, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    first = worker(processes)
    program = f"import background; print(background.hangs.delay({str(marker)!r}).flow_run_id)"
    flow_id = processes.run("-c", f"{INSTALLED}; {program}").strip()
    until(marker.exists)
    first.kill()
    worker(processes)
    assert get_run(flow_id).result(timeout=PATIENCE) == "done by another"
    assert get_run(flow_id).run().crashes == 1


def test_runs_that_match_a_filter_are_cancelled(processes: Processes, tmp_path: Path) -> None:
    markers = [tmp_path / "a", tmp_path / "b"]
    worker(processes)
    ids = run(processes, "stopping", "start", *map(str, markers)).split()
    until(lambda: all(marker.exists() for marker in markers))
    out = run(processes, "stopping", "stop", *ids)
    assert out.splitlines() == ["True {'RUNNING'}", "ACCEPT", "Cancelled", "Cancelled", "0"]


def test_a_flow_that_waits_for_a_person(processes: Processes) -> None:
    asking = processes.start("-m", "tidegate.compat.prefect", str(SCRIPTS / "waiting.py"))
    until(lambda: states('flow = "asks"') == {"asks": ["PAUSED"]})
    (flow,) = runs('flow = "asks"')
    assert run(processes, "waiting", flow.id, "answer") == "not paused\n"
    until(lambda: states('flow = "asks"') == {"asks": ["PAUSED"]})
    run(processes, "waiting", flow.id, "nothing")
    assert asking.communicate(timeout=PATIENCE)[0] == "Ada is 36\n"


def test_tasks_in_processes(processes: Processes) -> None:
    assert run(processes, "runners").splitlines() == ["True True", "crashed True True", "True"]


def test_the_readme_lists_all_names() -> None:
    package = Path(tidegate.compat.prefect.__file__).parent
    listed = {}
    for line in (package / "README.md").read_text().splitlines():
        if line.startswith("| `prefect"):
            module, names = line.split(" | ")[:2]
            listed[module.strip("| `")] = {name.strip("`") for name in names.split()}
    modules = {path.relative_to(package / "modules").with_suffix("").parts for path in (package / "modules").rglob("*.py")}
    found = {}
    for parts in modules:
        below = [part for part in parts if part != "__init__"]
        ours = importlib.import_module(".".join(["tidegate.compat.prefect.modules", *below]))
        found[".".join(["prefect", *below])] = set(ours.__all__)
    assert listed == found


def test_one_module_touches_the_machinery_of_imports() -> None:
    package = Path(tidegate.compat.prefect.__file__).parent
    tools = {"importlib", "imp", "pkgutil", "runpy", "__import__"}
    places = {"sys.meta_path", "sys.path_hooks", "sys.path_importer_cache", "sys.modules[]"}
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, (ast.Name, ast.Attribute)):
                names = [ast.unparse(node)]
            if isinstance(node, ast.Subscript):
                names = [f"{ast.unparse(node.value)}[]"]
            if places.intersection(names) or tools.intersection(name.partition(".")[0] for name in names):
                found.add(path.name)
    assert found == {"_finder.py"}


def test_hooks_and_conditions(processes: Processes) -> None:
    assert run(processes, "hooks").splitlines() == [
        "two: {'n': 2} RUNNING",
        "by position: doubles 1 Completed",
        "values: 4 {'n': 2}",
        "4",
        "two: {'n': -1} RUNNING",
        "by names: doubles {'n': -1} True ValueError('negative')",
        "decorated: ValueError: negative",
        "async: Completed None",
        "async: Failed KeyError(-1)",
        "1 4",
        "1 3",
        "refused: True",
    ]


def test_a_cancelled_parent_takes_its_children_with_it(processes: Processes, tmp_path: Path) -> None:
    processes.worker("-m", "tidegate.compat.prefect", str(SCRIPTS / "family.py"))
    program = f"import family; print(family.parent.delay({str(tmp_path)!r}).flow_run_id)"
    parent = get_run(processes.run("-c", f"{INSTALLED}; {program}").strip())
    until(lambda: len(list(tmp_path.iterdir())) == 4)
    parent.cancel()
    parent.wait(PATIENCE)
    until(lambda: states(f'parent_run_id = "{parent.id}"') == {"child": ["CANCELLED"] * 4})
    until(lambda: parent.logs() == ["looked after 4 children"])


def test_transactions(processes: Processes) -> None:
    assert run(processes, "undoing").splitlines() == [
        *["write a", "write b", "keep a", "keep b", "committed True"],
        *["write a", "write b", "remove b", "remove a", "Failed"],
    ]


def test_methods_and_parameters(processes: Processes) -> None:
    assert run(processes, "methods").splitlines() == [
        "['corner 2', 'corner 3']",
        "3 of tea at 2.5",
        "ParameterBindError True",
        "ParameterBindError True",
        "'as it is' True True sell 3",
    ]


def test_a_module_is_run_as_a_module(processes: Processes) -> None:
    out = processes.run("-m", "tidegate.compat.prefect", "-m", "compat.scripts.names", "x")
    assert out.splitlines()[-1] == "['x'] __main__ wait"


def test_limits_and_events(processes: Processes) -> None:
    limit = f"three-{uuid.uuid4().hex[:12]}"
    command = [os.environ["TIDEGATE_BIN"], "concurrency", "set", limit, "3"]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    held, emitted, *of_several = run(processes, "limits", limit).splitlines()
    assert (held, emitted) == ("held", "order.shipped")
    assert of_several == [
        "two and one",
        "True True",
        f"occupy=4: 4 is more than the 3 that the concurrency limit `{limit}` has: ask for fewer, or raise it",
        "there is no concurrency limit `compat-nowhere` in this namespace: with strict=True it has to be there before",
        "ConcurrencySlotAcquisitionError",
        "does not bind",
    ]
    (plain,) = runs('flow = "plain"')
    until(lambda: any('"order.shipped"' in line for line in get_run(plain.id).logs()))


@pytest.mark.parametrize("script, last", [("dag", "told"), ("subflows", "whole 3"), ("asynchronous", "sum 6")])
def test_without_recording_no_server_is_needed(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, script: str, last: str
) -> None:
    monkeypatch.setenv("TIDEGATE_RECORDING", "off")
    monkeypatch.setenv("TIDEGATE_ADDRESS", "http://127.0.0.1:1")
    assert run(processes, script).splitlines()[-1] == last


def test_runs_are_found_by_what_is_known_of_them(processes: Processes) -> None:
    *found, filter_error, client_error = run(processes, "finding", "7").splitlines()
    assert found == [
        "['marked-0', 'marked-1', 'marked-2', 'marked-3']",
        "['marked-1', 'marked-3']",
        "['marked-1']",
        "['marked-2']",
        "['marked-1', 'marked-3']",
        "['marked-0', 'marked-1', 'marked-2', 'marked-3']",
        "['marked-0']",
        "4",
        "marked-0 {'n': 0} ['step'] True",
        "['marked-0']",
        "[]",
    ]
    assert "FlowRunFilter has no `idempotency_key` here" in filter_error
    assert "`delete_flow_run`" in client_error


def test_what_functions_and_the_client_are_asked(processes: Processes) -> None:
    out = run(processes, "asked").splitlines()
    of_measures = [
        "['Completed', 'Cached'] Cached 7 m",
        "asked by fragile",
        "asked by other",
        "Failed Failed",
        "told of {'n': 7, 'times': 2}",
    ]
    assert out[:10] == [f"{of_measures[0]} 1", *of_measures[1:], f"{of_measures[0]} 2", *of_measures[1:]]
    assert out[10:] == [
        "['fragile', 'measure', 'measure', 'measure', 'other']",
        "[]",
        "daily {'n': 3} ['lab'] measures",
        "True {'n': 3}",
        "there is no deployment `measures/dayly` in this namespace: did you mean `measures/daily`?",
        "{'n': 7, 'times': 2}",
        "ABORT Completed the run has ended as COMPLETED and is not cancelled any more",
        "6",
        "cache_within_flow_run 0:01:00 True is_transient",
    ]
