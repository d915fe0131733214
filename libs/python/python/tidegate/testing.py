"""For the tests of your own flows and tasks: a server inside of the test's process, and a worker.

With pytest the fixture `tidegate_server` is there once the package is installed::

    from tidegate.testing import worker

    def test_doubles(tidegate_server):
        assert double(4) == 8                    # a run of a server that only this test knows
        with worker(double):
            assert double.delay(4).result() == 8

Without pytest, :func:`ephemeral_server` is the same as a block.
"""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Optional, Sequence

from . import _connection, _core
from ._ephemeral import STOP_SECONDS
from .functions import Function

__all__ = ["Server", "ephemeral_server", "new_namespace", "worker"]

#: How long code that still runs when a block of :func:`worker` ends may go on, in seconds.
_DRAIN_SECONDS = 10.0


@dataclass(frozen=True)
class Server:
    """Where the calls of this process go."""

    #: ``http://127.0.0.1:port``; `TIDEGATE_ADDRESS` has it too, so that processes which a test starts use it.
    address: str
    #: What this server, or this test on it, has for itself; `TIDEGATE_NAMESPACE` has it too.
    namespace: str


@contextmanager
def ephemeral_server() -> Iterator[Server]:
    """In the block, the calls of this process go to a server of its own, inside of this process.

    It keeps everything in memory and ends with the block. The environment names it, so that processes which are started
    in the block use it as well. Blocks may be nested; threads share what the block says, as they share the environment.
    """
    server = _core.EmbeddedServer()
    try:
        with _calls_go_to(Server(server.address, "default")) as here:
            yield here
    finally:
        server.stop(STOP_SECONDS)


@contextmanager
def new_namespace() -> Iterator[Server]:
    """In the block, the calls of this process go to a namespace that nobody has used yet, of the server where they go
    anyway: what others have done there is not seen."""
    address = _connection.client().address
    with _calls_go_to(Server(address, f"test-{uuid.uuid4().hex[:12]}")) as here:
        yield here


@contextmanager
def worker(
    *functions: Function[Any, Any],
    limit: int = 10,
    flow_limit: int = 100,
    queues: Sequence[str] = ("default",),
    labels: Optional[Mapping[str, str]] = None,
) -> Iterator[None]:
    """In the block, what is started by `.delay()` is executed, by a worker on a thread of this process.

    Flows and tasks run in threads of this process, whatever their `execution` says, so that functions which a test
    defines, and what it has replaced in modules, are what the worker sees. At the end of the block no more is taken, and
    running code may end within 10 s.
    """
    from .serving import Serving, checked

    served = {
        (kind, name): function.with_options(name=name, execution="thread")
        for (kind, name), function in checked(functions).items()
    }
    serving = Serving(served, limit, flow_limit, list(queues), _DRAIN_SECONDS, dict(labels or {}))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            serving.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="tidegate-worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        serving.drain()
        thread.join()
    if failures:
        raise failures[0]


@contextmanager
def _calls_go_to(server: Server) -> Iterator[Server]:
    wanted = {
        "TIDEGATE_ADDRESS": server.address,
        "TIDEGATE_EPHEMERAL": server.address,  # handed down, as by `_ephemeral`
        "TIDEGATE_NAMESPACE": server.namespace,
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        with _connection.another_client():
            yield server
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
