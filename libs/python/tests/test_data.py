"""Artifacts and variables, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from datetime import date
from typing import Any

import pytest

from conftest import PATIENCE
from tidegate import AlreadyExists, InvalidArgument, NotFound, PayloadError, _core, current_run, flow, task
from tidegate._connection import block, client
from tidegate.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from tidegate.variables import Variable

pytestmark = pytest.mark.usefixtures("server")


def command(*arguments: str) -> Any:
    """What `tidegate` prints as JSON."""
    done = subprocess.run(
        [os.environ["TIDEGATE_BIN"], *arguments, "-o", "json"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shown(artifact_id: uuid.UUID) -> Any:
    assert isinstance(artifact_id, uuid.UUID)
    return command("artifact", "get", str(artifact_id))


@pytest.fixture
def name() -> str:
    return f"v-{uuid.uuid4().hex[:12]}"


@task
def report(key: str) -> tuple[str, str]:
    run = current_run()
    assert run is not None
    return run.run_id, str(create_markdown_artifact("# All is well", key=key, description="of today"))


@flow
def reports(key: str) -> list[list[str]]:
    create_link_artifact("https://example.com", "here", key=key)
    return [list(report(key)), list(report.submit(key).result())]


def test_artifacts_belong_to_the_run_that_makes_them(name: str) -> None:
    for n, (run_id, artifact_id) in enumerate(reports(name)):
        artifact = shown(uuid.UUID(artifact_id))
        assert (artifact["run_id"], artifact["key"], artifact["version"]) == (run_id, name, n + 2)
        assert (artifact["type"], artifact["data"], artifact["description"]) == ("MARKDOWN", "# All is well", "of today")
    versions = command("artifact", "ls", "--root", artifact["root_run_id"])
    assert [one["type"] for one in versions] == ["MARKDOWN", "MARKDOWN", "LINK"]
    assert versions[2]["run_id"] == artifact["root_run_id"]
    command("run", "delete", run_id)
    assert command("artifact", "get", name)["version"] == 2


def test_each_type_is_kept_as_it_was_given() -> None:
    rows = [{"day": date(2026, 1, 31), "n": 1.5, "rest": float("nan")}]
    assert shown(create_table_artifact(rows))["data"] == [{"day": "2026-01-31", "n": 1.5, "rest": None}]
    assert shown(create_table_artifact({"a": [1, 2]}))["data"] == {"a": [1, 2]}
    link = shown(create_link_artifact("https://example.com", labels={"team": "ml"}))
    assert (link["data"], link["labels"], link["run_id"]) == ({"link": "https://example.com"}, {"team": "ml"}, "")
    assert shown(create_image_artifact("https://example.com/a.png"))["data"] == {"image_url": "https://example.com/a.png"}
    large = "x" * (1 << 20)
    artifact: _core.Artifact = block(client().get_artifact(id=str(create_markdown_artifact(large))))
    assert artifact.data == ("json/plain", json.dumps(large).encode())


def until_progress(artifact_id: uuid.UUID, progress: float) -> Any:
    deadline = time.monotonic() + PATIENCE
    while (artifact := shown(artifact_id))["progress"] != progress:
        assert time.monotonic() < deadline, artifact
    return artifact


def test_the_last_progress_arrives() -> None:
    artifact_id = create_progress_artifact(description="begun")
    assert shown(artifact_id)["progress"] == 0
    assert update_progress_artifact(artifact_id, 1, description="under way") == artifact_id
    for n in range(1000):
        update_progress_artifact(str(artifact_id), n / 10)
    assert until_progress(artifact_id, 99.9)["description"] == "under way"


def test_the_last_progress_arrives_though_the_process_ends() -> None:
    program = (
        "from tidegate.artifacts import *\n"
        "artifact_id = create_progress_artifact()\n"
        "for n in range(101): update_progress_artifact(artifact_id, n)\n"
        "print(artifact_id)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert shown(uuid.UUID(done.stdout.strip()))["progress"] == 100


def test_async_code_awaits() -> None:
    @task
    async def show() -> Any:
        artifact_id = await create_progress_artifact(10, description="a")
        await update_progress_artifact(artifact_id, 20)
        return str(artifact_id), str(await create_markdown_artifact("b"))

    progress_id, text_id = asyncio.run(show())
    assert until_progress(uuid.UUID(progress_id), 20)["run_id"] == shown(uuid.UUID(text_id))["run_id"] != ""


def test_plain_code_below_async_code_waits(name: str) -> None:
    @task
    def plain() -> tuple[str, Any]:
        artifact_id = create_progress_artifact(10)
        assert update_progress_artifact(artifact_id, 20) == artifact_id
        Variable.set(name, {"limit": 3})
        value = Variable.get(name)
        assert Variable.unset(name) is True
        return str(artifact_id), value

    @flow
    async def outer() -> Any:
        return plain()

    progress_id, value = asyncio.run(outer())
    assert value == {"limit": 3}
    until_progress(uuid.UUID(progress_id), 20)


def test_a_task_tells_the_progress_of_its_flow() -> None:
    @task(retries=1)
    def step(artifact_id: str) -> None:
        run = current_run()
        assert run is not None
        if run.attempt == 1:
            raise ValueError("the second attempt has another epoch than the flow")
        update_progress_artifact(artifact_id, 70)

    @flow
    def outer() -> str:
        artifact_id = str(create_progress_artifact())
        step(artifact_id)
        return artifact_id

    until_progress(uuid.UUID(outer()), 70)


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(InvalidArgument, match="a-z 0-9 -"):
        create_markdown_artifact("a", key="Not a key")
    with pytest.raises(InvalidArgument, match=r"markdown=7 is a int"):
        create_markdown_artifact(7)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="to_dict"):
        create_table_artifact("a,b")
    with pytest.raises(PayloadError, match="the table cannot be shown"):
        create_table_artifact([{(1, 2): 3}])  # type: ignore[dict-item]
    with pytest.raises(InvalidArgument, match="101 is no number from 0 to 100"):
        create_progress_artifact(101)
    with pytest.raises(InvalidArgument, match="create_progress_artifact"):
        update_progress_artifact("x", 1)


def test_variables_are_set_read_and_unset(name: str) -> None:
    assert Variable.get(name) is None
    assert Variable.get(name, default=3) == 3
    made = Variable.set(name, {"regions": ["eu"], "threshold": 2.5}, tags=["prod"])
    assert (made.name, made.tags) == (name, ["prod"])
    assert Variable.get(name) == made.value == {"regions": ["eu"], "threshold": 2.5}
    with pytest.raises(AlreadyExists, match=f"`{name}`.*overwrite"):
        Variable.set(name, 1)
    assert Variable.set(name, 1, overwrite=True) == Variable(name, 1)
    assert command("variable", "ls", "--prefix", name)[0]["tags"] == []
    command("variable", "set", name, "null", "--overwrite")
    assert Variable.get(name, default=3) is None, "it is there, and nothing"
    assert Variable.unset(name) is True
    assert Variable.unset(name) is False


def test_variables_from_async_code(name: str) -> None:
    async def use() -> None:
        assert await Variable.aset(name, [1]) == Variable(name, [1])
        assert await Variable.aget(name) == await Variable.get(name) == [1]
        await Variable.set(name, 2, overwrite=True)
        assert await Variable.aunset(name) is True
        assert await Variable.unset(name) is False

    asyncio.run(use())
    Variable.set(name, 1)


def test_a_value_that_is_no_json_or_too_large_is_told(name: str) -> None:
    with pytest.raises(PayloadError, match=f"`{name}` is a set that is no JSON"):
        Variable.set(name, {1})
    with pytest.raises(PayloadError, match="no JSON"):
        Variable.set(name, float("nan"))
    with pytest.raises(InvalidArgument, match="at most 65536"):
        Variable.set(name, "x" * (64 << 10))
    with pytest.raises(InvalidArgument, match="a-z 0-9 _ -"):
        Variable.set("Not a name", 1)
    with pytest.raises(NotFound):
        block(client().get_artifact(key="unknown"))
