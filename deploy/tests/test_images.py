"""The images are built from the Dockerfile, and all of Tidegate runs in them, as the compose file has it.

What the stage `build` would compile is handed in: the programs of the tests' own build, linked statically, and a wheel
made of its Python half. The bases cannot be pulled in every place, so the one with Python is a Debian that
`integration-tests/run` makes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SERVICES, program
from test_compose import SECRETS, interpolated
from test_start import eventually, free_port

WORK = """
from tidegate import flow, serve, task

@task
def large(n: int) -> str:
    return "x" * n

@flow
def double(n: int) -> str:
    return large.delay(n).result() * 2

if __name__ == "__main__":
    serve(double, large)
"""
# The images of the services have no files of time zones.
SCHEDULE = """
[[deployment]]
flow = "double"
name = "each-second"
parameters = { n = 1 }
[[deployment.schedule]]
cron = "* * * * * *"
time_zone = "Europe/Berlin"
"""
IN_A_CONTAINER = """
from tidegate import flow

@flow
def double(n: int) -> int:
    print(f"doubling {n}")
    return n * 2
"""
OF_THE_WORKER = """
[defaults]
work_pool = "default"
source.path = "/code"

[[deployment]]
flow = "report"
name = "command"
command = ["sh", "-c", "seq 3 > /tmp/made && echo the command wrote $(wc -l < /tmp/made)"]

[[deployment]]
flow = "double"
name = "entrypoint"
entrypoint = "inside.py:double"
parameters.n = 21
"""
CALL = "from work import double; assert double.delay(200_000).result() == 'x' * 400_000; print('the same came back')"


class Containers:
    """Podman with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        storage = [f"--root={folder}/storage", f"--runroot={folder}/run", "--storage-driver=vfs"]
        root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
        self.buildah = [*root, "buildah", *storage]
        # crun refuses hybrid cgroups, and no systemd is asked.
        self.podman = [*root, "podman", *storage, "--runtime=runc", "--cgroup-manager=cgroupfs", "--events-backend=file"]

    def call(self, *command: str, of: str = "podman", check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*getattr(self, of), *command], text=True, capture_output=True, timeout=300)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done

    def run(self, image: str, *command: str, name: str = "", options: list[str], env: dict[str, str]) -> str:
        """As the compose file has it; in the background if it has a name."""
        hard = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]
        small = ["--network=host", "--ulimit=nofile=20000:20000", "--ulimit=nproc=4096:4096"]
        variables = [f"--env={key}={value}" for key, value in env.items()]
        kind = ["--detach", f"--name={name}"] if name else ["--rm"]
        return self.call("run", *kind, *hard, *small, *variables, *options, image, *command).stdout


def wheel(folder: Path, programs: Path) -> None:
    """The Python package as maturin would pack it."""
    project = tomllib.loads((ROOT / "libs/python/pyproject.toml").read_text())["project"]
    info = f"{project['name']}-{project['version']}.dist-info"
    requires = "".join(f"Requires-Dist: {requirement}\n" for requirement in project["dependencies"])
    core = folder / "core.so"
    subprocess.run(["strip", "--strip-debug", "-o", core, programs / "libtidegate_core.so"], check=True)
    with zipfile.ZipFile(folder / f"{project['name']}-{project['version']}-cp310-abi3-linux_{os.uname().machine}.whl", "w") as file:
        for path in sorted((ROOT / "libs/python/python").rglob("*")):
            if path.suffix in {".py", ".pyi", ".typed"}:
                file.write(path, path.relative_to(ROOT / "libs/python/python"))
        file.write(core, "tidegate/_core.abi3.so")
        head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n{requires}"
        file.writestr(f"{info}/METADATA", head)
        tag = f"cp310-abi3-linux_{os.uname().machine}"
        file.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: false\nTag: {tag}\n")
        names = [*file.namelist(), f"{info}/RECORD"]
        file.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    core.unlink()


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    """All images, built once."""
    folder = Path(os.environ["TIDEGATE_TEST_IMAGES"])
    base, out = folder / "base.tar", folder / "build/out"
    for made in ("wheels", "empty"):
        (out / made).mkdir(exist_ok=True)
    with tarfile.open(base) as tar:
        found = (re.fullmatch(r"\./usr/lib/python(3\.\d+)/os\.py", name) for name in tar.getnames())
        version = next(match[1] for match in found if match)
    dependencies = tomllib.loads((ROOT / "libs/python/pyproject.toml").read_text())["project"]["dependencies"]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *dependencies]
    only = ["--only-binary=:all:", f"--python-version={version}", f"--dest={out}/wheels"]
    subprocess.run([*download, *only], check=True, timeout=300)
    wheel(out / "wheels", Path(os.environ["TIDEGATE_PROGRAMS"]))
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", out)

    containers = Containers(folder)
    containers.call("import", str(base), "localhost/python:test")
    for target in (*SERVICES, "tidegate"):
        handed_in = [f"--build-context=build={folder}/build", "--build-arg=PYTHON_IMAGE=localhost/python:test"]
        how = ["--isolation=chroot", "--format=docker", f"--target={target}", f"--tag=tidegate-{target}:0.1.0"]
        containers.call("bud", *how, *handed_in, f"--file={ROOT}/deploy/Dockerfile", str(ROOT), of="buildah")
    yield containers
    containers.call("rm", "--all", "--force", "--time=0")


@pytest.fixture
def dns() -> Iterator[str]:
    """A server of names to which everything is 127.0.0.1: static programs have to ask it without the system's help."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        address = f"127.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250}.53"
        server.bind((address, 53))

        def answer() -> None:
            while True:
                query, client = server.recvfrom(512)
                if not query:
                    return
                end = query.index(b"\0", 12) + 5
                is_ipv4 = query[end - 4 : end - 2] == b"\0\1"
                head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_ipv4 else b"\0\0") + b"\0\0\0\0"
                record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if is_ipv4 else b""
                server.sendto(head + query[12:end] + record, client)

        thread = threading.Thread(target=answer)
        thread.start()
        yield address
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", (address, 53))
        thread.join()


@pytest.mark.parametrize("target", [*SERVICES, "tidegate"])
def test_an_image_says_what_it_is_and_holds_no_secret(containers: Containers, target: str) -> None:
    (image,) = json.loads(containers.call("image", "inspect", f"tidegate-{target}:0.1.0").stdout)
    config = image["Config"]
    assert config["User"] == "65532:65532"
    assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"
    names = {item.partition("=")[0] for item in config.get("Env", [])}
    if target == "tidegate":
        assert names == {"PATH", "PYTHONUNBUFFERED"}
        return
    assert config["Entrypoint"] == [f"/tidegate-{target}"]
    assert names - {"PATH"} == {"TIDEGATE__LISTEN"}
    assert image["HealthCheck" if "HealthCheck" in image else "Healthcheck"]["Test"] == [
        "CMD",
        f"/tidegate-{target}",
        "--check-health",
    ]


def test_all_of_it_runs_in_its_images(containers: Containers, psql: Any, dns: str, tmp_path: Path) -> None:
    compose = interpolated(SECRETS)["services"]
    ports = {service: free_port() for service in SERVICES}
    named = {"postgres:5432/tidegate": psql.url.rpartition("@")[2].replace("127.0.0.1", "postgres")}
    named["redis:6379"] = os.environ["TIDEGATE_TEST_REDIS_URL"].rpartition("/")[2].replace("127.0.0.1", "redis")
    named[f":{SECRETS['TIDEGATE_REDIS_PASSWORD']}@"] = ""  # that of the tests has no password
    named |= {f"{service}:440{n}": f"{service}:{ports[service]}" for n, service in enumerate(SERVICES)}

    def here(text: str) -> str:
        for of_compose, of_test in named.items():
            text = text.replace(of_compose, of_test)
        return text

    names = [f"--dns={dns}", "--dns-search=."]
    for service in SERVICES:
        env = {key: here(value) for key, value in compose[service]["environment"].items()}
        env["TIDEGATE__LISTEN"] = f"0.0.0.0:{ports[service]}"
        volumes = [f"--volume={volume}" for volume in compose[service].get("volumes", [])]
        containers.run(f"tidegate-{service}:0.1.0", name=service, options=[*names, *volumes], env=env)
    for service in SERVICES:

        def healthy(service: str = service) -> bool:
            state = containers.call("container", "inspect", "--format={{.State.Running}}", service).stdout.strip()
            log = containers.call("logs", service, check=False)
            assert state == "true", f"{service} ended:\n{log.stdout}{log.stderr}"
            return containers.call("healthcheck", "run", service, check=False).returncode == 0

        eventually(f"{service} is healthy", healthy)

    (tmp_path / "work.py").write_text(WORK)
    tmp_path.chmod(0o755)
    # pytest's folders are for one user alone.
    shutil.copytree(tmp_path, flows := containers.folder / "flows")
    env = {"TIDEGATE_ADDRESS": f"http://api:{ports['api']}", "PYTHONPATH": "/flows"}
    options = [*names, f"--volume={flows}:/flows:ro", "--tmpfs=/tmp", "--entrypoint=python"]
    containers.run("tidegate-tidegate:0.1.0", "/flows/work.py", name="worker", options=options, env=env)
    assert "the same came back" in containers.run("tidegate-tidegate:0.1.0", "-c", CALL, options=options, env=env)
    listed = containers.run("tidegate-tidegate:0.1.0", "run", "ls", options=names, env=env)
    assert "double" in listed and "COMPLETED" in listed
    (flows / "tidegate.toml").write_text(SCHEDULE)
    with_file = [*names, f"--volume={flows}:/flows:ro"]
    assert "1 of 1 deployed" in containers.run("tidegate-tidegate:0.1.0", "deploy", "/flows", options=with_file, env=env)
    done = ["run", "ls", "--filter", "schedule = default AND state = COMPLETED"]
    eventually(
        "a time of the schedule has made a run",
        lambda: "double" in containers.run("tidegate-tidegate:0.1.0", *done, options=names, env=env),
    )
    pause = ["schedule", "pause", "double/each-second"]
    containers.run("tidegate-tidegate:0.1.0", *pause, options=names, env=env)

    # The worker of the compose file. It has one volume and a /tmp to write to; the code is mounted, as an image would have it.
    (pooled := containers.folder / "pooled").mkdir()
    (pooled / "inside.py").write_text(IN_A_CONTAINER)
    (pooled / "tidegate.toml").write_text(OF_THE_WORKER)
    worker, with_code = compose["worker"], f"--volume={pooled}:/code:ro"
    containers.run("tidegate-tidegate:0.1.0", "pool", "create", "default", "--type=process", options=names, env=env)
    of_worker = {key: here(value) for key, value in worker["environment"].items()}
    of_worker["TIDEGATE_WORKER_HEALTH_ADDRESS"] = f"127.0.0.1:{free_port()}"
    writable = [f"--volume={volume}" for volume in worker["volumes"]] + [f"--tmpfs={tmpfs}" for tmpfs in worker["tmpfs"]]
    options = [*names, *writable, with_code]
    containers.run("tidegate-tidegate:0.1.0", *worker["command"], name="pool-worker", options=options, env=of_worker)
    check = ["exec", "pool-worker", *worker["healthcheck"]["test"][1:]]
    eventually("the worker takes runs", lambda: containers.call(*check, check=False).returncode == 0)
    made = containers.run("tidegate-tidegate:0.1.0", "deploy", "/code", options=[*names, with_code], env=env)
    assert "2 of 2 deployed" in made
    for name, line in (("report/command", "the command wrote 3"), ("double/entrypoint", "doubling 21")):
        begun = containers.run("tidegate-tidegate:0.1.0", "deployment", "run", name, options=names, env=env)
        run_id = begun.split()[-1]
        # Its exit code is 4 where the run does not complete, which `run` above refuses.
        containers.run("tidegate-tidegate:0.1.0", "run", "watch", run_id, options=names, env=env)

        def is_logged(run_id: str = run_id, line: str = line) -> bool:
            return line in containers.run("tidegate-tidegate:0.1.0", "run", "logs", run_id, options=names, env=env)

        eventually(f"the log of {name} has {line!r}", is_logged)
    assert containers.run("tidegate-tidegate:0.1.0", "--version", options=["--entrypoint=git"], env={})

    for name in ("worker", "pool-worker", *SERVICES):
        containers.call("stop", "--time=60", name)
        code = containers.call("container", "inspect", "--format={{.State.ExitCode}}", name).stdout.strip()
        assert code == "0", containers.call("logs", name).stderr


OF_THE_POOL = """
[defaults]
work_pool = "containers"
source.image = "localhost/tidegate-tidegate:0.1.0"

[[deployment]]
flow = "good"
name = "command"
command = ["python3", "-c", "print('from inside')"]

[[deployment]]
flow = "bad"
name = "command"
command = ["python3", "-c", "raise SystemExit(3)"]

[[deployment]]
flow = "double"
name = "entrypoint"
entrypoint = "inside.py:double"
parameters.n = 21
"""


def test_a_worker_starts_runs_as_containers_of_a_real_engine(containers: Containers, tmp_path: Path) -> None:
    """Podman, which speaks Docker's API. What cannot be done with it here is tested against a simulation."""
    port, engine = free_port(), containers.folder / "engine.sock"
    (flows := containers.folder / "inside").mkdir()
    (flows / "inside.py").write_text(IN_A_CONTAINER)
    (tmp_path / "tidegate.toml").write_text(OF_THE_POOL)
    limits = [{"Name": name, "Soft": n, "Hard": n} for name, n in {"nofile": 20000, "nproc": 4096}.items()]
    template = {"HostConfig": {"Init": False, "Ulimits": limits, "Binds": "{{ volumes }}"}}
    (tmp_path / "template.json").write_text(json.dumps(template))
    variables = {"networks": ["host"], "volumes": [f"{flows}:/flows:ro"], "working_directory": "/flows"}
    env = os.environ | {"TIDEGATE_ADDRESS": f"http://127.0.0.1:{port}"}

    def tidegate(*args: str, check: bool = True) -> str:
        done = subprocess.run([program("tidegate"), *args], env=env, text=True, capture_output=True, timeout=60)
        assert done.returncode == 0 or not check, f"{args}: {done.stdout}{done.stderr}"
        return done.stdout

    def ended(name: str) -> dict[str, Any]:
        run_id = tidegate("deployment", "run", name).split()[-1]
        shown: dict[str, Any] = {}

        def is_over() -> bool:
            shown.update(json.loads(tidegate("run", "get", run_id, "-o", "json")))
            return any(state in json.dumps(shown["state"]) for state in ("COMPLETED", "FAILED", "CRASHED"))

        eventually(f"the run of {name} has ended", is_over)
        return shown

    def said(run: dict[str, Any], words: str) -> None:
        # The last lines may come behind the end.
        eventually(f"the log has {words!r}", lambda: words in tidegate("run", "logs", run["id"]))

    processes = []
    try:
        listen = [*containers.podman, "system", "service", "--time=0", f"unix://{engine}"]
        processes.append(subprocess.Popen(listen))
        processes.append(subprocess.Popen([program("tidegate"), "dev", "--ephemeral", f"--port={port}"]))
        eventually("the engine listens", engine.exists)
        eventually("the server answers", lambda: tidegate("run", "ls", check=False) != "")
        of_type = ["--type=docker", f"--job-template={tmp_path}/template.json", f"--job-variables={json.dumps(variables)}"]
        tidegate("pool", "create", "containers", *of_type)
        tidegate("deploy", str(tmp_path))
        worker = ["worker", "start", "--pool=containers", f"--docker-host=unix://{engine}", f"--data-dir={tmp_path}/worker"]
        processes.append(subprocess.Popen([program("tidegate"), *worker], env=env))
        good = ended("good/command")
        assert "COMPLETED" in json.dumps(good["state"]), good
        said(good, "from inside")
        bad = ended("bad/command")
        assert "FAILED" in json.dumps(bad["state"]) and "exit code 3" in json.dumps(bad), bad
        double = ended("double/entrypoint")
        assert "COMPLETED" in json.dumps(double["state"]), double
        said(double, "doubling 21")
        gone = lambda: "tidegate-0" not in containers.call("ps", "--all", "--format={{.Names}}").stdout  # noqa: E731
        eventually("the containers are removed", gone)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=90)
