"""One trace goes from the caller through the server to the code of a worker and of its children, as OpenTelemetry sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import uuid
from typing import Iterator

import pytest
from otlp import OtlpReceiver, Span

from conftest import PATIENCE, Processes, until


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    started = OtlpReceiver()
    yield started
    started.close()


@pytest.fixture
def traced_server(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of this test alone, which exports its spans; what the test starts does so, too."""
    binary = os.environ.get("TIDEGATE_BIN")
    if not binary:
        pytest.skip("TIDEGATE_BIN does not name the server's binary")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    environment = {**os.environ, "TIDEGATE_LOG": "info"}  # which spans there are follows the filter of the log
    process = subprocess.Popen(
        [binary, "dev", "--ephemeral", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        line = next(line for line in process.stdout if line.startswith("listening on "))
        address = line.removeprefix("listening on ").strip()
        threading.Thread(target=process.stdout.read, daemon=True).start()
        monkeypatch.setenv("TIDEGATE_ADDRESS", address)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()


def above(spans: list[Span], span: Span) -> list[tuple[str, str]]:
    """Services and names from a span up to the first of its trace, as far as they have come."""
    by_id = {each.span_id: each for each in spans}
    line = [span]
    while (parent := by_id.get(line[-1].parent_span_id)) is not None:
        assert parent.trace_id == span.trace_id
        line.append(parent)
    return [(each.service, each.name) for each in line]


def test_a_trace_goes_from_the_caller_to_the_tasks_of_a_python_worker(
    processes: Processes, receiver: OtlpReceiver, traced_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = f"q-{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "the-worker")
    worker = processes.worker("trace_work.py", "serve", queue)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "the-caller")
    assert processes.run("trace_work.py", "call", queue).strip() == "4"
    by_the_server = [("tidegate-dev", "deliver"), ("tidegate-dev", "create run")]
    expected = [
        ("the-worker", "run traced-local"),
        ("the-worker", "run traced-inner"),
        *by_the_server,
        ("the-worker", "create traced-inner"),
        ("the-worker", "run traced-outer"),
        *by_the_server,
        ("the-caller", "create traced-outer"),
    ]

    def lines() -> list[list[tuple[str, str]]]:
        spans = receiver.spans
        return [above(spans, span) for span in spans if span.name == "run traced-local"]

    try:
        until(lambda: expected in lines())
    except AssertionError:
        assert lines() == [expected]
    spans = receiver.spans
    (root,) = [span for span in spans if span.name == "create traced-outer"]
    assert root.parent_span_id == "", "the caller has begun the trace"
    of_the_trace = {span.name for span in spans if span.trace_id == root.trace_id}
    assert any(name.startswith("tidegate.v1.RunService/") for name in of_the_trace), "the requests are in it"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE) == 0
