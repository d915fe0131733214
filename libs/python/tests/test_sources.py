"""Code that a pool's worker has fetched once is there for later runs, also when its origin is gone."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Iterator

import pytest

from conftest import PATIENCE
from test_pools import Lab, lab  # noqa: F401
from tidegate import flow
from tidegate.deployments import ArchiveSource, GitSource, Source, run_deployment

pytestmark = pytest.mark.usefixtures("server")

CODE = """
from tidegate import flow

@flow(name="fetched")
def fetched() -> str:
    return "from afar"
"""


@flow(name="fetched")
def fetched() -> str:
    raise AssertionError("the worker has the code from elsewhere")


class Storage(ThreadingHTTPServer):
    """As much of S3 as a reader of objects asks for: a simulation, by path and without a look at signatures."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.n_reads = 0
        super().__init__(("127.0.0.1", 0), _Objects)


class _Objects(BaseHTTPRequestHandler):
    server: Storage

    def do_GET(self) -> None:
        self.server.n_reads += 1
        data = self.server.objects.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """What workers that are started take for S3."""
    storage = Storage()
    threading.Thread(target=storage.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{storage.server_address[1]}")
    for name, value in [
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ]:
        monkeypatch.setenv(name, value)
    yield storage
    storage.shutdown()
    storage.server_close()


def deploy(lab: Lab, source: Source) -> str:
    name: str = fetched.deploy(
        lab.pool,
        entrypoint="flows.py:fetched",
        work_pool=lab.pool,
        source=source,
        job_variables={"python": sys.executable},
    ).name
    return name


def result_of(name: str) -> object:
    return run_deployment(name, timeout=PATIENCE).result(timeout=PATIENCE)


def test_an_archive_in_object_storage_is_fetched_once(lab: Lab, storage: Storage) -> None:  # noqa: F811
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("src/flows.py")
        entry.size = len(CODE)
        archive.addfile(entry, io.BytesIO(CODE.encode()))
    data = buffer.getvalue()
    storage.objects["/bucket/etl.tar.gz"] = data
    lab.worker()
    name = deploy(lab, ArchiveSource("s3://bucket/etl.tar.gz", sha256=hashlib.sha256(data).hexdigest(), directory="src"))
    assert result_of(name) == "from afar"
    n_reads = storage.n_reads
    assert n_reads > 0
    storage.objects.clear()
    assert (result_of(name), storage.n_reads) == ("from afar", n_reads)


def test_a_commit_is_fetched_once(lab: Lab, tmp_path: Path) -> None:  # noqa: F811
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "flows.py").write_text(CODE)

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=ada", "-c", "user.email=ada@example.org", *arguments]
        return subprocess.run(command, cwd=origin, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    lab.worker()
    name = deploy(lab, GitSource(f"file://{origin}", ref=git("rev-parse", "HEAD")))
    assert result_of(name) == "from afar"
    shutil.rmtree(origin)
    assert result_of(name) == "from afar"
