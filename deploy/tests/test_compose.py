"""The compose file names what is there, keeps its secrets outside, and its configuration is what the programs take."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml
from conftest import DEPLOY, ROOT, SERVICES, run, started

FILE = DEPLOY / "compose.yaml"
SECRETS = {"TIDEGATE_POSTGRES_PASSWORD": "pw1", "TIDEGATE_REDIS_PASSWORD": "pw2"}


def interpolated(variables: dict[str, str]) -> dict[str, Any]:
    """The file with its variables as compose replaces them."""

    def value(found: re.Match[str]) -> str:
        name, operator, word = found.groups()
        if variables.get(name):
            return variables[name]
        if operator == ":?":
            raise LookupError(f"{name}: {word}")
        assert operator == ":-", found[0]
        return word

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(inner) for key, inner in node.items()}
        if isinstance(node, list):
            return [walk(inner) for inner in node]
        return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, node) if isinstance(node, str) else node

    return walk(yaml.safe_load(FILE.read_text()))


@pytest.fixture
def compose() -> dict[str, Any]:
    return interpolated(SECRETS)


def stages() -> dict[str, str]:
    """The stages of the Dockerfile by name."""
    parts = re.split(r"^FROM .* AS ([\w-]+)$", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("service", SERVICES)
def test_the_programs_take_what_they_are_given(compose: dict[str, Any], service: str) -> None:
    own = compose["services"][service]
    of_image = dict(re.findall(r"^ENV (TIDEGATE__\w+)=(\S+)$", stages()[own["build"]["target"]], re.MULTILINE))
    env = of_image | own["environment"]
    shown = run(service, "--print-config", env=env)
    assert shown.returncode == 0, shown.stderr
    config = tomllib.loads(shown.stdout)
    port = int(config["listen"].rpartition(":")[2])
    assert config["listen"] == f"0.0.0.0:{port}"
    assert f"EXPOSE {port}\n" in stages()[service]
    # Longer than the drain, or it would be cut off.
    assert int(own["stop_grace_period"].removesuffix("s")) > int(config["shutdown_grace"].removesuffix("s"))
    # Who is called listens there.
    for host, port in re.findall(r"(?:http://|@)([a-z-]+):(\d+)", " ".join(env.values())):
        assert host in compose["services"]
        listens = {"postgres": "5432", "redis": "6379"}
        assert listens.get(host) == port or f"EXPOSE {port}\n" in stages()[host]


def test_what_is_named_is_there(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            other_service = compose["services"][other]
            if "build" in other_service:
                assert "HEALTHCHECK" in stages()[other_service["build"]["target"]], f"{name} waits for {other}"
            else:
                assert other_service["healthcheck"]["test"]
        for volume in service.get("volumes", []):
            source, target = volume.split(":")
            assert source in compose["volumes"]
            image = "tidegate" if name == "worker" else "service"
            assert "build" not in service or re.search(rf"\s{target}/?\s", stages()[image])
        if "build" in service:
            target = "tidegate" if name == "worker" else name
            assert service["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile", "target": target}
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_the_sources_of_an_image_are_sent_and_named() -> None:
    """What the stage `build` reads; it is not executed here, as that would compile everything once more."""
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())
    members = {member.partition("/")[0] for member in workspace["workspace"]["members"]}
    assert sent >= members | {"Cargo.toml", "Cargo.lock", "proto"}
    assert all((ROOT / name).exists() for name in sent)
    build = stages()["build"]
    for package in re.findall(r"--package (\S+)", build):
        folder = ROOT / "services" / package.removeprefix("tidegate-")
        assert tomllib.loads((folder / "Cargo.toml").read_text())["package"]["name"] == package
    assert "--profile dist" in build and "dist" in workspace["profile"]
    (version,) = {found for found in re.findall(r"image.version=\"(.*)\"", (DEPLOY / "Dockerfile").read_text())}
    chart = yaml.safe_load((DEPLOY / "helm/tidegate/Chart.yaml").read_text())
    assert version == chart["appVersion"] == workspace["workspace"]["package"]["version"]
    rust = workspace["workspace"]["package"]["rust-version"]
    assert f"RUST_IMAGE=docker.io/library/rust:{rust}-" in (DEPLOY / "Dockerfile").read_text()


def test_the_worker_can_be_started(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    assert started(worker["command"], "--drain-seconds=30").returncode == 0
    assert int(worker["stop_grace_period"].removesuffix("s")) >= 30 + 40
    shell, program, *check = worker["healthcheck"]["test"]
    assert (shell, program, "--check-health" in check) == ("CMD", "tidegate", True)
    assert started(check).returncode == 0
    assert worker["environment"]["TIDEGATE_WORKER_HEALTH_ADDRESS"].startswith("127.0.0.1:")


def test_api_and_scheduler_share_their_payloads(compose: dict[str, Any]) -> None:
    api, scheduler = (compose["services"][name] for name in ("api", "scheduler"))
    key = "TIDEGATE__OBJECT_STORAGE__URL"
    assert api["environment"][key] == scheduler["environment"][key]
    assert api["volumes"] == scheduler["volumes"]
    assert api["environment"][key] == "file://" + api["volumes"][0].partition(":")[2]


def test_one_port_is_published_and_only_to_this_machine(compose: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {"api": ["127.0.0.1:4400:4400"]}


def test_webhooks_go_to_this_machine_unless_told_otherwise() -> None:
    def webhooks(**variables: str) -> dict[str, Any]:
        env = interpolated(SECRETS | variables)["services"]["scheduler"]["environment"]
        shown = run("scheduler", "--print-config", env=env)
        assert shown.returncode == 0, shown.stderr
        return tomllib.loads(shown.stdout)["webhooks"]

    anywhere = {"private_addresses": True, "allow_http": True, "hosts": []}
    assert webhooks() == anywhere
    off = {"TIDEGATE_WEBHOOKS_PRIVATE_ADDRESSES": "false", "TIDEGATE_WEBHOOKS_ALLOW_HTTP": "false"}
    assert webhooks(**off) == anywhere | {"private_addresses": False, "allow_http": False}


@pytest.mark.parametrize("secret", SECRETS)
def test_there_is_no_password_but_yours(secret: str) -> None:
    with pytest.raises(LookupError, match="set it to letters and digits"):
        interpolated(SECRETS | {secret: ""})
    other = interpolated(SECRETS | {secret: "another"})
    assert SECRETS[secret] not in yaml.safe_dump(other), "a password stands in the file"
    for name, value in [pair for service in other["services"].values() for pair in service["environment"].items()]:
        assert "PASSWORD" not in name or value in {"another", *SECRETS.values()}
