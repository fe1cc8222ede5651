"""Spans of consumed messages, on OpenTelemetry's API alone.

Each message of a batch gets a `process {topic}` span whose parent (and link) is the context in
which it was created; what is published because of it carries that span's context. Without an
SDK a batch costs one check, and messages pass their traceparent on unchanged.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from opentelemetry import trace
from opentelemetry.context import attach, create_key, detach, get_value, set_value
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracerProvider,
    ProxyTracerProvider,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from waybill.messaging.core.unit import Received

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import AttributeValue

    from waybill.messaging.core.message import Message

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)

_CORRELATION_ID = create_key("waybill-correlation-id")


def span_context(traceparent: str | None) -> SpanContext | None:
    """The W3C trace context of a header; None if there is none or it is malformed.

    Digits are hexadecimal in lower case (W3C Trace Context, 3.2.2). Of a version above 00 the
    first 55 characters are read (4.3).
    """
    found = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found[1] == "00" and found[5]):
        return None
    # Not before the pattern has matched: int() takes signs, spaces, `_` and every script's digits.
    trace_id, span_id, flags = (int(field, 16) for field in found.group(2, 3, 4))
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & 1))
    return context if context.is_valid else None


def traceparent_of(context: SpanContext) -> str:
    """The header of a span's context."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def parent_of(traceparent: str | None) -> tuple[Context | None, list[Link]]:
    """The OpenTelemetry context and the links of a span that continues `traceparent`."""
    creation = span_context(traceparent)
    if creation is None:
        return None, []
    return trace.set_span_in_context(NonRecordingSpan(creation)), [Link(creation)]


def active_tracer() -> Tracer | None:
    """A tracer, or None while no SDK is configured."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, ProxyTracerProvider | NoOpTracerProvider):
        return None
    return provider.get_tracer("waybill.messaging")


@contextmanager
def call_span(kind: str, traceparent: str | None, correlation_id: str = "") -> Iterator[None]:
    """An outside call of a delivery, in the trace of the message that caused it.

    What is logged inside knows the trace and the correlation id, with an SDK or without.
    """
    parent, links = parent_of(traceparent)
    context = set_value(_CORRELATION_ID, correlation_id or None, parent)
    token = attach(context)
    try:
        tracer = active_tracer()
        if tracer is None:
            yield
            return
        with tracer.start_as_current_span(
            f"call {kind}", context=context, kind=SpanKind.CLIENT, links=links
        ):
            yield
    finally:
        detach(token)


def current_correlation_id() -> str | None:
    """Of the message that caused the call that runs here; stays in this process."""
    found = get_value(_CORRELATION_ID)
    return found if isinstance(found, str) else None


def log_fields(message: Message) -> dict[str, str]:
    """What a log line about this message carries, as `extra`."""
    context = span_context(message.traceparent)
    trace_id = {"trace_id": f"{context.trace_id:032x}"} if context is not None else {}
    return {"correlation_id": message.correlation_id, **trace_id}


class BatchSpans:
    """The open spans of one unit. They are exported only when `end` is called.

    A unit that rolled back drops its spans: its messages will be processed again.
    """

    def __init__(self, spans: Sequence[Span], received: Sequence[Received]) -> None:
        self._spans = spans
        self.received = received

    def end(self) -> None:
        """The unit committed."""
        for span in self._spans:
            span.end()


class ConsumerTracing:
    """Makes the spans of one consumer."""

    def __init__(self, consumer: str, *, system: str = "waybill") -> None:
        self._attributes: dict[str, AttributeValue] = {
            "messaging.system": system,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": consumer,
        }

    def start(self, received: Sequence[Received]) -> BatchSpans | None:
        """Spans for these messages, and the messages with the spans' contexts in them."""
        tracer = active_tracer()
        if tracer is None:
            return None
        spans, traced = [], []
        for each in received:
            span = self._start(tracer, each.message)
            traceparent = traceparent_of(span.get_span_context())
            message = msgspec.structs.replace(each.message, traceparent=traceparent)
            spans.append(span)
            traced.append(Received(message, each.event))
        return BatchSpans(spans, traced)

    def failed(self, failures: Iterable[tuple[Message, str]]) -> None:
        """Messages that became dead letters, each with its error's class."""
        tracer = active_tracer()
        if tracer is None:
            return
        for message, error_type in failures:
            span = self._start(tracer, message)
            span.set_attribute("error.type", error_type)
            span.set_status(Status(StatusCode.ERROR))
            span.end()

    def _start(self, tracer: Tracer, message: Message) -> Span:
        context, links = parent_of(message.traceparent)
        return tracer.start_span(
            f"process {message.topic}",
            context=context,
            kind=SpanKind.CONSUMER,
            links=links,
            attributes={
                **self._attributes,
                "messaging.destination.name": message.topic,
                "messaging.message.id": str(message.id),
                "messaging.message.conversation_id": message.correlation_id,
                "messaging.message.body.size": len(message.value),
            },
        )
