"""Strangers' records: seed 003's envelope without headers becomes a message, nothing else does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.blueprints import choreography
from waybill.blueprints.foreign import read_foreign
from waybill.commerce.contracts import OrderCreated
from waybill.messaging.core.errors import UndecodableMessageError
from waybill.messaging.core.message import ForeignRecord

ORDER = "d3f1a8e0-52c4-4d0f-8f0c-6c1b7a9e4b21"
EVENT = "9b2f1c7a-3f55-4c35-9a3e-0d6f5f3b2a10"
WRITTEN = datetime(2026, 11, 21, 12, tzinfo=UTC)
JSONB = (
    '{"eventId": "EVENT", "payload": {"items": [{"quantity": 2, "productId": '
    '"11111111-1111-1111-1111-111111111111", "unitPrice": 29.99}], "orderId": "ORDER", "currency": '
    '"EUR", "customerId": "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "totalAmount": 59.98}, "version":'
    ' 1, "eventType": "OrderCreated", "occurredAt": 1772109615.123456789, "causationId": "ORDER", '
    '"correlationId": "ORDER"}'
)
"""As the reference implementation's outbox writes it, out of a jsonb column."""


def foreign(value: bytes, *, key: str = ORDER, **headers: bytes) -> ForeignRecord:
    """A record as a consumer finds it."""
    return ForeignRecord(
        topic="order-events",
        partition=2,
        offset=7,
        key=key,
        value=value,
        headers=headers,
        timestamp=WRITTEN,
    )


def envelope(**changes: object) -> bytes:
    """The least that is understood, with these members more or in place."""
    least = {"eventId": EVENT, "eventType": "OrderConfirmed", "payload": {"orderId": ORDER}}
    return json.dumps({**least, **changes}).encode()


def test_the_reference_implementation_s_record_is_understood() -> None:
    """R-003: no headers, decimal epoch seconds; and its value decodes to the event."""
    message = read_foreign(foreign(JSONB.replace("EVENT", EVENT).replace("ORDER", ORDER).encode()))
    assert (message.id, message.type, message.key) == (UUID(EVENT), "OrderCreated", ORDER)
    assert message.occurred_at == datetime(2026, 2, 26, 12, 40, 15, 123456, tzinfo=UTC)
    assert (message.correlation_id, message.causation_id) == (ORDER, UUID(ORDER))
    event = choreography.codec().decode(message)
    assert isinstance(event, OrderCreated)
    assert event.total_amount == Decimal("59.98")


def test_what_is_left_out_comes_from_the_record() -> None:
    """Time, key and conversation; a trace context that travels as a header is taken up."""
    message = read_foreign(foreign(envelope(), key="", traceparent=b"00-1-2-01", other=b"x"))
    assert (message.key, message.correlation_id) == (ORDER, ORDER)
    assert (message.occurred_at, message.traceparent) == (WRITTEN, "00-1-2-01")
    assert message.headers == {"other": b"x"}


def test_texts_that_no_database_takes_are_made_fit() -> None:
    """U+0000 in what goes into our columns would stop a consumer for ever."""
    message = read_foreign(foreign(envelope(correlationId="a\0b", eventType="x\0")))
    assert "\0" not in message.correlation_id + message.type


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-02-26T12:40:15.5Z", datetime(2026, 2, 26, 12, 40, 15, 500_000, tzinfo=UTC)),
        ("2026-02-26T12:40:15", datetime(2026, 2, 26, 12, 40, 15, tzinfo=UTC)),
        (1772109615, datetime(2026, 2, 26, 12, 40, 15, tzinfo=UTC)),
        (None, WRITTEN),
    ],
)
def test_times_are_read_in_every_form_of_the_documents(written: object, instant: datetime) -> None:
    """ISO 8601 with and without a zone, whole seconds, null."""
    assert read_foreign(foreign(envelope(occurredAt=written))).occurred_at == instant


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no json",
        b"[]",
        envelope(eventId="no uuid"),
        envelope(payload={}),
        envelope(payload=None),
        envelope(version="one"),
        envelope(version=2**31),
        envelope(occurredAt=1e30),
        envelope(occurredAt=-1),
        envelope(occurredAt=True),
        envelope(occurredAt="yesterday"),
        envelope(occurredAt={}),
        envelope(occurredAt=float("nan")),
    ],
)
def test_what_is_no_envelope_is_refused(value: bytes) -> None:
    """By the one error that makes a dead letter."""
    with pytest.raises(UndecodableMessageError):
        read_foreign(foreign(value))


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(value: bytes) -> None:
    """Whatever a stranger writes, nothing else is raised."""
    with pytest.raises(UndecodableMessageError):
        read_foreign(foreign(value))
