"""How many connections a process has: as many as the README says, whatever it does, also after a fork."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import uuid
from typing import Iterator
from urllib.parse import urlsplit

import pytest

from conftest import HERE, PATIENCE, Processes, until
from tidegate._connection import block, client

#: One for calls and sessions, one for logs.
OF_A_PROCESS = 2
#: And one for the stream of runs.
OF_A_WORKER = 3


class Proxy:
    """A way to the server on which connections are counted."""

    def __init__(self, address: str) -> None:
        target = urlsplit(address)
        self._target = (target.hostname or "", target.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        #: Since the start.
        self.n_accepted = 0
        #: Now.
        self.n_open = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.n_accepted += 1
                self.n_open += 1
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()
        with self._lock:
            self.n_open -= 1


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """In the environment of what the test starts. The test itself goes the straight way."""
    block(client().list_runs("", 1, ""))
    started = Proxy(server)
    monkeypatch.setenv("TIDEGATE_ADDRESS", started.address)
    yield started
    started.close()


def test_all_flows_tasks_and_threads_of_a_process_share_its_connections(proxy: Proxy) -> None:
    program = subprocess.Popen(
        [sys.executable, "connection_work.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE
    )
    assert program.stdin is not None and program.stdout is not None
    try:
        for line, n_accepted, n_open in [
            ("worked", OF_A_PROCESS, OF_A_PROCESS),
            ("worked in a child", 2 * OF_A_PROCESS, 2 * OF_A_PROCESS),
            ("worked again", 2 * OF_A_PROCESS, OF_A_PROCESS),
        ]:
            assert program.stdout.readline().strip() == line
            until(lambda: proxy.n_open == n_open)
            assert proxy.n_accepted == n_accepted, line
            program.stdin.write(f"{line}\n")
            program.stdin.flush()
        assert program.wait(PATIENCE) == 0
        until(lambda: proxy.n_open == 0)
    finally:
        program.kill()
        program.wait(PATIENCE)


def test_a_worker_has_one_more_for_its_runs(proxy: Proxy, processes: Processes) -> None:
    import connection_work as work

    queue = f"q-{uuid.uuid4().hex[:12]}"
    target = str(HERE / "connection_work.py") + ":double"
    processes.worker("-m", "tidegate", "serve", target, "--queue", queue, "--limit", "50")
    handles = work.double.with_options(queue=queue).delay_map(range(300))
    assert [handle.result(timeout=PATIENCE) for handle in handles] == [2 * n for n in range(300)]
    until(lambda: proxy.n_accepted == OF_A_WORKER)
    assert proxy.n_open == OF_A_WORKER
