"""What the tests of the chart, the compose file and the images share.

TIDEGATE_PROGRAMS is the folder of the built programs; the rest is set by `integration-tests/run deploy` too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[1]
ROOT = DEPLOY.parent
CHART = DEPLOY / "helm/tidegate"
VALUES = sorted((DEPLOY / "tests/values").glob("*.yaml"))
SERVICES = ("api", "task-queue", "scheduler", "log-ingest")
NAMESPACE = "flows"


def merged(below: Any, over: Any) -> Any:
    if isinstance(below, dict) and isinstance(over, dict):
        return below | {key: merged(below.get(key), value) for key, value in over.items()}
    return over


def values_of(file: Path, **over: Any) -> dict[str, Any]:
    return merged(yaml.safe_load(file.read_text()), over)


def render(values: dict[str, Any], name: str = "prod") -> list[dict[str, Any]]:
    """The objects of the chart with these values."""
    texts = helm_python.Chart.load(CHART).render(values, name=name, namespace=NAMESPACE)
    del texts["tidegate/templates/NOTES.txt"]
    return [item for text in texts.values() for item in yaml.safe_load_all(text) if item]


class Release:
    """What was rendered, by kind and name."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.objects = render(values)

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        return {item["metadata"]["name"]: item for item in self.objects if item["kind"] == kind}

    def container(self, service: str) -> dict[str, Any]:
        return self.pod(service)["containers"][0]

    def pod(self, service: str) -> dict[str, Any]:
        (found,) = [item for name, item in self.of("Deployment").items() if name.endswith(f"-{service}")]
        return found["spec"]["template"]["spec"]

    def env(self, service: str, secrets: dict[str, str], folder: Path) -> dict[str, str]:
        """The variables of a service, its secrets as files below `folder`. `secrets` has values by mount point."""
        env = {}
        for item in self.container(service)["env"]:
            value = item.get("value")
            if value is None:
                value = "key-of-a-secret"
            elif value.startswith("file:/run/"):
                path = Path(value.removeprefix("file:"))
                file = folder / service / path.relative_to("/run")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(secrets.get(path.parent.name, "secret") + "\n")
                value = f"file:{file}"
            env[item["name"]] = value
        return env


@pytest.fixture(params=VALUES, ids=lambda file: file.stem)
def release(request: pytest.FixtureRequest) -> Release:
    return Release(values_of(request.param))


def program(name: str) -> str:
    path = Path(os.environ["TIDEGATE_PROGRAMS"]) / name
    assert path.exists(), f"{path} is missing: cargo build --workspace"
    return str(path)


def run(service: str, *args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A service's program with these variables and no others."""
    return subprocess.run([program(f"tidegate-{service}"), *args], env=env, text=True, capture_output=True, timeout=60)


def started(arguments: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    """The command with these arguments, which it reads and does not carry out: it shows its help."""
    command = [program("tidegate"), *arguments, *more, "--help"]
    return subprocess.run(command, env={}, text=True, capture_output=True, timeout=60)


URLS = {"postgres": "postgres://tidegate:x@postgres.example.com/tidegate", "redis": "redis://:x@redis.example.com"}


@pytest.fixture
def psql() -> Iterator[Any]:
    """Asks a database of the test's own."""
    server = os.environ["TIDEGATE_TEST_POSTGRES_URL"]
    name = f"deploy_{os.getpid()}"

    def ask(sql: str, url: str = f"{server.rpartition('/')[0]}/{name}") -> str:
        command = ["psql", "--no-psqlrc", "--quiet", "-At", "-c", sql, url]
        return subprocess.run(command, text=True, capture_output=True, check=True, timeout=60).stdout.strip()

    ask.url = f"{server.rpartition('/')[0]}/{name}"
    ask(f"CREATE DATABASE {name}", server)
    yield ask
    ask(f"DROP DATABASE {name} WITH (FORCE)", server)
