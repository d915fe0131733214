"""A receiver of OpenTelemetry's spans, made of gRPC alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterator, NamedTuple

import grpc

#: Of ``opentelemetry/proto/collector/trace/v1/trace_service.proto``.
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Span(NamedTuple):
    """A span that came in."""

    service: str
    name: str
    trace_id: str
    span_id: str
    #: Empty for the first of a trace.
    parent_span_id: str


class OtlpReceiver:
    """Listens on a free port until it is closed."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._lock = threading.Lock()
        export = grpc.unary_unary_rpc_method_handler(self._export)
        service, method = _EXPORT.strip("/").split("/")
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: export})])
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    @property
    def spans(self) -> list[Span]:
        """What has come so far."""
        with self._lock:
            return list(self._spans)

    def close(self) -> None:
        """Takes no more."""
        self._server.stop(None).wait()

    def _export(self, request: bytes, _: Any) -> bytes:
        found = list(_spans(request))
        with self._lock:
            self._spans.extend(found)
        return b""


def _spans(request: bytes) -> Iterator[Span]:
    """Those of an ``ExportTraceServiceRequest``."""
    for of_resource in _fields(request, 1):
        service = ""
        for resource in _fields(of_resource, 1):
            for attribute in _fields(resource, 1):
                if _text(attribute, 1) == "service.name":
                    service = "".join(_text(value, 1) for value in _fields(attribute, 2))
        for scope in _fields(of_resource, 2):
            for span in _fields(scope, 2):
                ids = [b"".join(_fields(span, number)).hex() for number in (1, 2, 4)]
                yield Span(service, _text(span, 5), *ids)


def _text(message: bytes, number: int) -> str:
    return b"".join(_fields(message, number)).decode()


def _fields(message: bytes, number: int) -> Iterator[bytes]:
    """The fields of this number in a protobuf message, each with its bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            _, at = _varint(message, at)
        elif tag & 7 == 2:
            size, at = _varint(message, at)
            if tag >> 3 == number:
                yield message[at : at + size]
            at += size
        else:
            at += {1: 8, 5: 4}[tag & 7]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
