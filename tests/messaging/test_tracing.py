"""Traces go through consumers: one span a message, in the trace of the message (S3-D20)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tests.messaging.ledger import CONSUMER, TOPIC, Added, World

from waybill.messaging.core.errors import TransientError
from waybill.messaging.runtime.tracing import (
    ConsumerTracing,
    call_span,
    current_correlation_id,
    span_context,
    traceparent_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.unit import Received

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """An SDK that keeps the spans; the global one can be set only once a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def by_message(exporter: InMemorySpanExporter) -> dict[object, ReadableSpan]:
    """Finished spans by the message that they processed."""
    return {
        span.attributes["messaging.message.id"]: span
        for span in exporter.get_finished_spans()
        if span.attributes
    }


async def test_each_message_has_a_span_in_its_creators_trace(
    exported: InMemorySpanExporter,
) -> None:
    """conventions.md 1.2: parent and link are the creation context; names and attributes fit."""
    world = World()
    messages = [
        world.message(Added("a", 1), key="a", traceparent=TRACEPARENT),
        world.message(Added("b", 2), key="b"),
    ]
    await world.feed(messages)
    async with world.running(world.consumer):
        await world.clock.until(lambda: len(world.effects) == 2)
    spans = by_message(exported)
    traced, rootless = (spans[str(message.id)] for message in messages)
    assert traced.name == f"process {TOPIC}"
    assert traced.kind is SpanKind.CONSUMER
    assert traced.parent is not None
    assert f"{traced.parent.trace_id:032x}-{traced.parent.span_id:016x}" == (
        f"{TRACE_ID}-{PARENT_ID}"
    )
    assert [f"{link.context.span_id:016x}" for link in traced.links] == [PARENT_ID]
    assert dict(traced.attributes or {}) == {
        "messaging.system": "waybill",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": CONSUMER,
        "messaging.destination.name": TOPIC,
        "messaging.message.id": str(messages[0].id),
        "messaging.message.conversation_id": "a",
        "messaging.message.body.size": len(messages[0].value),
    }
    assert rootless.parent is None


async def test_what_is_published_carries_the_spans_context(exported: InMemorySpanExporter) -> None:
    """A message's consequence is a child of the span that processed it."""
    world = World()
    message = world.message(Added("a", 1), key="a", traceparent=TRACEPARENT)
    await world.feed([message])
    async with world.running(world.consumer):
        await world.clock.until(lambda: bool(world.effects))
    (copy,) = world.copies
    span = by_message(exported)[str(message.id)]
    context = span.get_span_context()
    assert context is not None
    assert copy.traceparent == traceparent_of(context)
    assert copy.traceparent[3:35] == TRACE_ID


async def test_without_an_sdk_the_traceparent_is_passed_on() -> None:
    """A service without telemetry does not cut the trace of the others."""
    world = World()
    await world.feed([world.message(Added("a", 1), key="a", traceparent=TRACEPARENT)])
    async with world.running(world.consumer):
        await world.clock.until(lambda: bool(world.effects))
    assert world.copies[0].traceparent == TRACEPARENT


async def test_an_attempt_that_rolled_back_leaves_no_span(exported: InMemorySpanExporter) -> None:
    """One span a message, however often an outage made it begin again."""
    world = World()
    tries = 0

    def busy(_received: Sequence[Received]) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise TransientError("deadlock detected")

    world.ledger.mood = busy
    await world.consume(world.amounts(count=3))
    assert len(exported.get_finished_spans()) == 3


async def test_a_dead_letter_has_a_span_with_its_error(exported: InMemorySpanExporter) -> None:
    """error.type is the class that operators see, and its neighbours' spans are well."""
    world = World()
    messages = world.amounts(["", "raises", ""])
    await world.consume(messages)
    spans = by_message(exported)
    failed = spans[str(messages[1].id)]
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "ValueError"
    assert spans[str(messages[0].id)].status.status_code is StatusCode.UNSET
    assert len(exported.get_finished_spans()) == 3


async def test_an_outside_call_is_in_the_trace_of_its_cause(
    exported: InMemorySpanExporter,
) -> None:
    """While the call runs its span is the current one, so a client injects it."""
    with call_span("charge", TRACEPARENT):
        await asyncio.sleep(0)
        current = trace.get_current_span().get_span_context()
    (span,) = exported.get_finished_spans()
    assert (span.name, span.kind) == ("call charge", SpanKind.CLIENT)
    assert span.get_span_context() == current
    assert f"{current.trace_id:032x}" == TRACE_ID


def test_a_call_knows_its_trace_and_correlation_without_an_sdk() -> None:
    """What is logged inside can be found by both; outside there is neither."""
    with call_span("charge", TRACEPARENT, "order-1"):
        assert trace.get_current_span().get_span_context().trace_id == int(TRACE_ID, 16)
        assert current_correlation_id() == "order-1"
    assert not trace.get_current_span().get_span_context().is_valid
    assert current_correlation_id() is None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "garbage",
        TRACEPARENT[:-1],
        TRACEPARENT + "-more",
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{'0' * 32}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[:-1]}x-{PARENT_ID}-01",
        f"00-{TRACE_ID}{PARENT_ID}--01xx",
        f"01-{TRACE_ID}-{PARENT_ID}-01more",
        TRACEPARENT.upper(),
        f"00-{TRACE_ID}-{PARENT_ID}- 1",
        f"00-{TRACE_ID}-{PARENT_ID}-+1",
        f"0x-{TRACE_ID}-{PARENT_ID}-01",
        f"00-0x{TRACE_ID[2:]}-{PARENT_ID}-01",
        f"00-{TRACE_ID[0]}_{TRACE_ID[2:]}-{PARENT_ID}-01",
        f"00-{TRACE_ID}-\u0661{PARENT_ID[1:]}-01",
        TRACEPARENT + "\n",
    ],
)
def test_malformed_trace_contexts_are_ignored(header: str | None) -> None:
    """conventions.md 1.2: all-zero ids, version ff and everything malformed start a new trace."""
    assert span_context(header) is None


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (TRACEPARENT, True),
        (f"00-{TRACE_ID}-{PARENT_ID}-00", False),
        (f"00-{TRACE_ID}-{PARENT_ID}-03", True),
        (f"cc-{TRACE_ID}-{PARENT_ID}-01-what-comes", True),
    ],
)
def test_trace_contexts_are_read(header: str, *, sampled: bool) -> None:
    """conventions.md 1.2: bit 0 alone is looked at; of a later version the first 55 characters."""
    context = span_context(header)
    assert context is not None
    assert context.trace_flags.sampled is sampled
    assert traceparent_of(context)[3:52] == f"{TRACE_ID}-{PARENT_ID}"


def test_without_an_sdk_a_batch_costs_one_check() -> None:
    """The handler gets the very messages that were fetched."""
    assert ConsumerTracing(CONSUMER).start([]) is None
