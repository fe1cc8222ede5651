"""Traces go out by OTLP when the environment asks for it, each service by its own name."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.service_context import in_service
from waybill.platform.tracing import FLUSH_SECONDS_MAX, set_up_tracing, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator


class Collector:
    """A real OTLP receiver on loopback."""

    def __init__(self) -> None:
        self.spans: dict[str, list[str]] = defaultdict(list)
        self.traces: set[bytes] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Sort the spans by the name of their service."""
        for resource in request.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans[names["service.name"]].append(span.name)
                    self.traces.add(span.trace_id)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that is up."""
    running = Collector()
    yield running
    running.close()


def test_services_of_one_process_are_told_apart_and_share_a_trace(collector: Collector) -> None:
    """Each span carries the name of the service whose code made it; the trace is one."""
    environment = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        tracing = set_up_tracing(environment, version="1", alone=False)
    assert tracing is not None
    tracer = tracing.get_tracer("test")
    with in_service("order-service"), tracer.start_as_current_span("POST /api/orders"):
        with in_service("inventory-service"), tracer.start_as_current_span("process order-events"):
            pass
        with in_service("payment-service"):
            tracer.start_span("process inventory-events").end()
    tracing.close()
    assert collector.spans == {
        "order-service": ["POST /api/orders"],
        "inventory-service": ["process order-events"],
        "payment-service": ["process inventory-events"],
    }
    assert len(collector.traces) == 1


def test_a_collector_that_hangs_delays_the_end_by_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM drains within 20 seconds whoever listens to traces."""
    before = {*threading.enumerate()}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", str(FLUSH_SECONDS_MAX + 1))
    with closing(socket.create_server(("127.0.0.1", 0))) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}/v1/traces"
        environment = {"MANAGEMENT_OTLP_TRACING_ENDPOINT": url}
        tracing = set_up_tracing(environment, version="1", alone=True)
        assert tracing is not None
        tracing.get_tracer("test").start_span("lost").end()
        tracing.close()
        sending = {*threading.enumerate()} - before
        assert sending, "it was not waited for to the end"
        for thread in sending:  # later tests are not to meet it
            thread.join(30)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"MANAGEMENT_OTLP_TRACING_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        (
            {
                "MANAGEMENT_OTLP_TRACING_EXPORT_ENABLED": "false",
                "MANAGEMENT_OTLP_TRACING_ENDPOINT": "http://x",
            },
            False,
        ),
    ],
)
def test_the_environment_decides(environment: dict[str, str], *, expected: bool) -> None:
    """Nothing is sent anywhere unless somebody asked; the standard switches switch it off."""
    assert wanted(environment) is expected


def test_an_unsupported_protocol_is_refused() -> None:
    """Rather than sending what the collector does not understand."""
    environment = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(ConfigurationError, match="http/protobuf"):
        set_up_tracing(environment, version="1", alone=True)


def test_a_wrong_probability_is_refused() -> None:
    """The documents' sampling setting is checked, and nothing runs that would have used it."""
    before = threading.enumerate()
    environment = {"OTEL_TRACES_EXPORTER": "otlp", "MANAGEMENT_TRACING_SAMPLING_PROBABILITY": "2"}
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        set_up_tracing(environment, version="1", alone=True)
    assert threading.enumerate() == before
