"""Traces by OTLP, set up only when the environment asks for it (OTEL_* or the documents' names).

Guarantees: each service is a resource of its own even where four share a process; one bounded
queue and one thread; at the end what waits is sent for at most three seconds.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.service_context import current_service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import Span, Tracer

FLUSH_SECONDS_MAX: Final = 3.0
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_DOCUMENTED: Final = "MANAGEMENT_OTLP_TRACING_ENDPOINT"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("MANAGEMENT_OTLP_TRACING_EXPORT_ENABLED", "").strip().lower() == "false":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter:
        return exporter == "otlp"
    return any(environment.get(name) for name in (*_ENDPOINTS, _DOCUMENTED))


def set_up_tracing(environment: Mapping[str, str], *, version: str, alone: bool) -> Tracing | None:
    """Traces of this process, or None if nobody asked. Call `install` once, `close` at the end.

    `alone`: the process runs one service, so that OTEL_SERVICE_NAME may rename it. Raises
    ConfigurationError for a protocol other than http/protobuf. The SDK is imported here only:
    it costs 20 MB.
    """
    if not wanted(environment):
        return None
    for name in _PROTOCOLS:
        if environment.get(name, "http/protobuf") != "http/protobuf":
            raise ConfigurationError(f"{name}={environment[name]}: only http/protobuf is supported")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - see above
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - see above

    sampler = _sampler(environment)  # what it refuses leaves no thread of a processor behind
    given = any(environment.get(name) for name in _ENDPOINTS)
    exporter = OTLPSpanExporter(endpoint=None if given else environment.get(_DOCUMENTED))
    renamed = environment.get("OTEL_SERVICE_NAME") if alone else None
    return Tracing(
        BatchSpanProcessor(exporter),
        sampler,
        {"service.namespace": "waybill", "service.version": version},
        renamed=renamed,
    )


class Tracing(trace.TracerProvider):
    """A provider whose spans belong to the service whose code makes them."""

    def __init__(
        self,
        processor: Any,  # noqa: ANN401 - a SpanProcessor of the SDK, which is imported late
        sampler: Sampler | None,
        attributes: Mapping[str, str],
        *,
        renamed: str | None = None,
    ) -> None:
        self._processor = processor
        self._sampler = sampler
        self._attributes = dict(attributes)
        self._renamed = renamed
        self._providers: dict[str, TracerProvider] = {}
        self._lock = threading.Lock()

    def install(self) -> None:
        """Become the process's provider; OpenTelemetry allows that once."""
        trace.set_tracer_provider(self)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,  # noqa: ANN401 - OpenTelemetry's signature
    ) -> Tracer:
        """A tracer that asks for the service at every span."""
        return _ServiceTracer(
            self,
            (instrumenting_module_name, instrumenting_library_version, schema_url, attributes),
        )

    def provider_of(self, service: str) -> TracerProvider:
        """The SDK's provider of one service; all share one queue."""
        with self._lock:
            found = self._providers.get(service)
            if found is None:
                found = self._providers[service] = self._make(service)
            return found

    def close(self) -> None:
        """Send what waits, for a bounded time; a collector that is down delays nobody."""
        flushing = threading.Thread(target=self._processor.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS_MAX)

    def _make(self, service: str) -> TracerProvider:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - imported on demand
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above

        resource = Resource.create({**self._attributes, "service.name": self._renamed or service})
        made = TracerProvider(resource=resource, sampler=self._sampler, shutdown_on_exit=False)
        made.add_span_processor(self._processor)
        return made


class _ServiceTracer(trace.Tracer):
    def __init__(self, tracing: Tracing, scope: tuple[Any, ...]) -> None:
        self._tracing = tracing
        self._scope = scope
        self._tracers: dict[str, Tracer] = {}

    def _tracer(self) -> Tracer:
        service = current_service()
        found = self._tracers.get(service)
        if found is None:
            found = self._tracing.provider_of(service).get_tracer(*self._scope)
            self._tracers[service] = found
        return found

    def start_span(self, *arguments: Any, **named: Any) -> Span:  # noqa: ANN401 - passed on
        return self._tracer().start_span(*arguments, **named)

    def start_as_current_span(  # type: ignore[override] # the API's is a decorated generator
        self,
        *arguments: Any,  # noqa: ANN401 - passed on
        **named: Any,  # noqa: ANN401 - passed on
    ) -> Iterator[Span]:
        return self._tracer().start_as_current_span(*arguments, **named)  # type: ignore[return-value] # as above


def _sampler(environment: Mapping[str, str]) -> Sampler | None:
    """The documents' probability, unless OTEL_TRACES_SAMPLER says more; None is the SDK's own."""
    share = environment.get("MANAGEMENT_TRACING_SAMPLING_PROBABILITY", "").strip()
    if not share or environment.get("OTEL_TRACES_SAMPLER"):
        return None
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415 - see above

    try:
        return ParentBasedTraceIdRatio(float(share))
    except ValueError:
        raise ConfigurationError(
            f"MANAGEMENT_TRACING_SAMPLING_PROBABILITY={share!r} must be between 0 and 1"
        ) from None


__all__: Sequence[str] = ("Tracing", "set_up_tracing", "wanted")
