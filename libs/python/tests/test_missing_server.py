"""Calls without a server: what is said, and how soon."""

from __future__ import annotations

import http.server
import os
import socket
import socketserver
import subprocess
import sys
import threading
from typing import Iterator

import pytest

from conftest import HERE, PATIENCE

#: A first call, as a new user makes it.
SCRIPT = """
from tidegate import ServerUnavailable, task

@task
def double(n): return 2 * n

try:
    {call}
except ServerUnavailable as error:
    print(error)
"""
MEND = "set TIDEGATE_ADDRESS to where one runs, or set TIDEGATE_EPHEMERAL=1 to have one inside of this process."


def said(call: str, address: str = "") -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    if address:
        environment["TIDEGATE_ADDRESS"] = address
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(call=call)],
        env=environment, cwd=HERE, capture_output=True, text=True, timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else can while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("call", ["double(1)", "double.submit(1).result()", "double.delay(1)"])
def test_the_first_call_says_where_it_looked_and_how_to_start_one(call: str, free_port: int) -> None:
    address = f"http://127.0.0.1:{free_port}"
    assert said(call, address) == (
        f"no Tidegate server answers at {address} (connection refused). Start one with `tidegate dev`, {MEND}"
    )


def test_where_nobody_named_one_it_says_so() -> None:
    with socket.socket() as default:
        try:
            default.bind(("127.0.0.1", 4400))
        except OSError:
            pytest.fail("port 4400 is in use here: end what uses it (a `tidegate dev`?) and try again")
        assert said("double.delay(1)") == (
            "no Tidegate server answers at http://127.0.0.1:4400, where one is looked for while TIDEGATE_ADDRESS is not "
            f"set (connection refused). Start one with `tidegate dev`, {MEND}"
        )


def test_a_web_server_is_told_apart() -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{web.server_address[1]}"
        assert said("double.delay(1)", address) == (
            f"no Tidegate server answers at {address}: what is there speaks HTTP, but no gRPC. Start one on a free port "
            f"with `tidegate dev --port 0`, {MEND}"
        )
        web.shutdown()


def test_another_protocol_is_told_apart() -> None:
    class Banner(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"220 mail.example ESMTP\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Banner) as mail:
        threading.Thread(target=mail.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{mail.server_address[1]}"
        assert said("double.delay(1)", address) == (
            f"no Tidegate server answers at {address}: what is there does not speak gRPC. Start one on a free port with "
            f"`tidegate dev --port 0`, {MEND}"
        )
        mail.shutdown()
