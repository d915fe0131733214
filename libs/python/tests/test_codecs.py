"""Codecs: with the encryption of `examples/encryption.py`, neither the wire nor the database holds what was said."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet

import codec_work as work
import tidegate
from codec_work import Encryption
from conftest import HERE, PATIENCE, Processes
from tidegate import AlreadyExists, InvalidArgument, PayloadError, _payload, get_run
from tidegate.codecs import use_codecs

#: Said by nobody else.
WORD = "rumpelstiltskin"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Keys in the environment; this process has none before it says so."""
    made = [Fernet.generate_key().decode()]
    monkeypatch.setenv("TIDEGATE_KEYS", ",".join(made))
    yield made
    use_codecs()


@contextmanager
def server_on(folder: Path) -> Iterator[str]:
    """A server that keeps what it has in `folder`; its address."""
    command = [os.environ["TIDEGATE_BIN"], "dev", "--port", "0", "--data", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("listening on "):
                break
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield line.removeprefix("listening on ").strip()
        process.terminate()
        process.wait(PATIENCE)
    finally:
        process.kill()


class Wire:
    """Passes bytes on between a client and the server, and remembers them."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        while data := self._received(one):
            self.seen += data
            other.sendall(data)
        other.close()

    @staticmethod
    def _received(one: socket.socket) -> bytes:
        try:
            return one.recv(1 << 16)
        except OSError:
            return b""

    def close(self) -> None:
        self._listener.close()


PROGRAM = f"""
import os, sys
import codec_work as work
from tidegate.codecs import use_codecs
if "--plain" not in sys.argv:
    use_codecs(work.codecs())
print(work.shout.with_options(queue=sys.argv[1]).delay("{WORD}").result())
print(work.shout("{WORD} at home"))
print(len(work.shout.with_options(queue=sys.argv[1]).delay("{WORD}" * 20_000).result()))
"""


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


@pytest.mark.parametrize("plain", [False, True])
def test_neither_the_wire_nor_the_database_has_the_clear_text(
    keys: list[str], tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    """Without the codec both have it, so it is looked for in the right places."""
    with server_on(tmp_path) as address:
        wire = Wire(address)
        monkeypatch.setenv("TIDEGATE_ADDRESS", wire.address)
        codec = ["--plain"] if plain else []
        worker = processes.worker("codec_work.py", "default", *codec)
        out = processes.run("-c", PROGRAM, "default", *codec)
        worker.terminate()
        worker.wait(PATIENCE)
        wire.close()
    assert out.split("\n") == [WORD.upper(), f"{WORD} AT HOME".upper(), str(len(WORD) * 20_000), ""]
    for places in (bytes(wire.seen), on_disk(tmp_path)):
        found = WORD.encode() in places or WORD.upper().encode() in places
        assert found is plain


def test_the_example_runs(server: str, processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    example = str(HERE.parent / "examples" / "encryption.py")
    monkeypatch.setenv("TIDEGATE_KEYS", processes.run(example, "new-key").strip())
    monkeypatch.setenv("TIDEGATE_QUEUE", f"codecs-{uuid4()}")
    processes.worker(example, "serve")
    assert processes.run(example, "greet", "world") == "hello world\n"


def test_a_key_is_changed_while_what_the_old_one_wrote_can_be_read(server: str, keys: list[str]) -> None:
    use_codecs(work.codecs())
    old = work.shout.with_options(cache_key=f"{uuid4()}")
    run_ids = [run_of(old, WORD)]
    new = Fernet.generate_key().decode()
    use_codecs(Encryption([new, *keys], b""))
    run_ids.append(run_of(work.shout, WORD))
    assert [get_run(run_id).result() for run_id in run_ids] == [WORD.upper()] * 2
    use_codecs(Encryption([new], b""))
    assert get_run(run_ids[1]).result() == WORD.upper()
    with pytest.raises(PayloadError, match="the result of run .* cannot be read: the codec `fernet` cannot read a value.*key"):
        get_run(run_ids[0]).result()


def run_of(function: Any, text: str) -> str:
    future = function.submit(text)
    assert future.result() == text.upper()
    run_id: str = future.id
    return run_id


def test_who_does_not_have_the_codec_is_told_which(server: str, keys: list[str]) -> None:
    use_codecs(work.codecs())
    run_id = run_of(work.shout, WORD)
    use_codecs()
    with pytest.raises(PayloadError, match="was written by the codec `fernet`, which this process does not have: give it to"):
        get_run(run_id).result()


def test_a_worker_without_the_key_says_what_it_lacks(server: str, keys: list[str], processes: Processes) -> None:
    queue = f"codecs-{uuid4()}"
    processes.worker("results_work.py", queue)
    use_codecs(work.codecs())
    import results_work

    handle = results_work.typed.with_options(queue=queue).delay("enum")
    with pytest.raises(tidegate.RunFailed, match="by the codec `fernet`, which this process does not"):
        handle.result(timeout=PATIENCE)


def test_the_environment_names_the_codec(server: str, keys: list[str], processes: Processes) -> None:
    use_codecs(work.codecs())
    run_id = run_of(work.shout, WORD)
    program = f"import tidegate; print(tidegate.get_run('{run_id}').result())"
    environment = {**os.environ, "TIDEGATE_CODECS": "codec_work:codecs"}
    ended = subprocess.run([sys.executable, "-c", program], cwd=HERE, env=environment, capture_output=True, text=True)
    assert ended.stdout.strip() == WORD.upper(), ended.stderr
    environment["TIDEGATE_CODECS"] = "codec_work:nope"
    ended = subprocess.run([sys.executable, "-c", program], cwd=HERE, env=environment, capture_output=True, text=True)
    assert "TIDEGATE_CODECS is `codec_work:nope`, which cannot be imported" in ended.stderr


@pytest.fixture
def queue(server: str, keys: list[str], processes: Processes) -> str:
    """A queue whose worker has the key, as this process."""
    name = f"codecs-{uuid4()}"
    processes.worker("codec_work.py", name)
    use_codecs(work.codecs())
    return name


def test_one_key_is_one_run_though_each_encoding_is_another(queue: str) -> None:
    assert _payload.encode_arguments({"a": 1}, "f") != _payload.encode_arguments({"a": 1}, "f")
    keyed = work.shout.with_options(queue=queue, idempotency_key=f"{uuid4()}")
    first = keyed.delay(WORD)
    assert keyed.delay(WORD) == first
    with pytest.raises(AlreadyExists):
        keyed.delay("another text")


def test_the_next_attempt_finds_the_calls_of_the_one_before(queue: str, tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    handle = work.fails_once.with_options(queue=queue, retries=1).delay(path, WORD)
    assert handle.result(timeout=PATIENCE) == WORD.upper()
    assert Path(path).read_text().split() == [WORD, "flow", "flow"], "the task was executed once"


def test_what_a_run_is_resumed_with_is_encoded_and_what_it_asks_for_is_readable(queue: str) -> None:
    handle = work.asks.with_options(queue=queue).delay()
    binary = os.environ["TIDEGATE_BIN"]

    def inputs() -> str:
        command = [binary, "run", "inputs", handle.id]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE).stdout

    while handle.state.type != "PAUSED":
        pass
    assert "how much?" in inputs()
    handle.resume({"amount": WORD})
    assert handle.result(timeout=PATIENCE) == {"amount": WORD}
    assert WORD not in inputs() and "codec/fernet" in inputs()


def test_wrong_codecs_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="a codec is an object with `name`, `encode"):
        use_codecs(42)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="must be 1 to 58 of"):
        use_codecs(type("C", (), {"name": "a/b", "encode": lambda *_: b"", "decode": lambda *_: b""})())
