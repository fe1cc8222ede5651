"""Seed 003's wire: every event comes back as it went, and no bytes do more than be refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waybill.blueprints.choreography import (
    INVENTORY_EVENTS,
    ORDER_EVENTS,
    PROCESS,
    SERVICES,
    TOPICS,
    codec,
)
from waybill.commerce.contracts import (
    EVENTS,
    Event,
    Line,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    PaymentFailed,
    Reason,
    RefundRequested,
    StockRejected,
    StockReleased,
    StockReserved,
)
from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError
from waybill.messaging.core.message import Message

CODEC = codec()
ORDER = UUID("d3f1a2b4-1111-4222-8333-444455556666")
MOUSE = UUID("11111111-1111-1111-1111-111111111111")
AT = datetime(2026, 2, 26, 12, 40, 15, 123456, tzinfo=UTC)

amounts = st.decimals("0.01", "9999999999.99", places=2)
texts = st.none() | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40
)
instants = st.none() | st.timedeltas(timedelta(0), timedelta(days=9999)).map(lambda span: AT + span)
currencies = st.sampled_from(["EUR", "USD", "JPY"])
lines = st.builds(
    Line, product_id=st.uuids(), quantity=st.integers(1, 2**31 - 1), unit_price=amounts
)
items = st.lists(lines, min_size=1, max_size=4).map(tuple)
members: dict[str, st.SearchStrategy[Any]] = {
    "order_id": st.uuids(),
    "customer_id": st.uuids(),
    "payment_id": st.uuids(),
    "refund_id": st.uuids(),
    "items": items,
    "total_amount": amounts,
    "amount": amounts,
    "currency": currencies,
    "reason": st.sampled_from(Reason),
    "detail": texts,
    "not_after": instants,
}
events = st.one_of(
    [
        st.builds(struct, **{name: members[name] for name in struct.__struct_fields__})
        for struct in EVENTS
    ]
)


def message(name: str, value: bytes = b"", **changes: Any) -> Message:  # noqa: ANN401 - any field
    """An envelope around these bytes."""
    fields: dict[str, Any] = {
        "id": UUID(int=5),
        "topic": "topic",
        "type": name,
        "key": str(ORDER),
        "value": value,
        "occurred_at": AT,
        "correlation_id": str(ORDER),
        "causation_id": UUID(int=4),
    }
    return Message(**{**fields, **changes})


def written(event: Event) -> bytes:
    """The record's value of this event."""
    return CODEC.encode(event, message(CODEC.type_name(event)))


def read(name: str, payload: object, **envelope: object) -> object:
    """What a consumer makes of a foreign record with this payload."""
    value = msgspec.json.encode({"eventType": name, "payload": payload, **envelope})
    return CODEC.decode(message(name, value))


@given(events)
def test_every_event_comes_back_as_it_went(event: Event) -> None:
    """Encoding and decoding lose nothing: exact money, instants, optional members."""
    envelope = message(CODEC.type_name(event), written(event))
    assert CODEC.decode(envelope) == event


def test_the_envelope_is_the_document_s() -> None:
    """Seven members; ISO instants; money as JSON numbers with their digits; causation is real."""
    event = OrderCreated(
        order_id=ORDER,
        customer_id=UUID(int=3),
        items=(Line(MOUSE, 2, Decimal("29.90")),),
        total_amount=Decimal("59.80"),
        currency="EUR",
        not_after=AT,
    )
    value = written(event)
    assert b'"unitPrice":29.90' in value
    assert b'"totalAmount":59.80' in value
    assert msgspec.json.decode(value) == {
        "eventId": str(UUID(int=5)),
        "eventType": "OrderCreated",
        "occurredAt": "2026-02-26T12:40:15.123456Z",
        "correlationId": str(ORDER),
        "causationId": str(UUID(int=4)),
        "version": 1,
        "payload": {
            "orderId": str(ORDER),
            "customerId": str(UUID(int=3)),
            "items": [{"productId": str(MOUSE), "quantity": 2, "unitPrice": 29.9}],
            "totalAmount": 59.8,
            "currency": "EUR",
            "notAfter": "2026-02-26T12:40:15.123456Z",
        },
    }


FOREIGN = (
    b'{"eventId": "9b2f0000-0000-4000-8000-000000000000", "payload": {"items": [{"quantity": 2, '
    b'"productId": "11111111-1111-1111-1111-111111111111", "unitPrice": %s, "colour": null}], '
    b'"orderId": "d3f1a2b4-1111-4222-8333-444455556666", "currency": "EUR", "totalAmount": %s}, '
    b'"version": 1, "eventType": "StockReserved", "occurredAt": 1772109615.123456789, '
    b'"causationId": "d3f1", "correlationId": "d3f1", "extra": [1]}'
)


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_the_reference_implementation_s_records_are_read(quote: bytes) -> None:
    """Its jsonb text, epoch seconds, unknown members, and money as numbers or numeric strings."""
    value = FOREIGN % (quote + b"29.9" + quote, quote + b"59.80" + quote)
    assert CODEC.decode(message("StockReserved", value)) == StockReserved(
        order_id=ORDER,
        items=(Line(MOUSE, 2, Decimal("29.9")),),
        total_amount=Decimal("59.80"),
        currency="EUR",
    )


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("StockRejected", "Insufficient stock for product: X", Reason.STOCK_UNAVAILABLE),
        ("StockRejected", None, Reason.STOCK_UNAVAILABLE),
        ("PaymentFailed", "Payment declined by provider", Reason.PAYMENT_REFUSED),
        ("OrderCancelled", "Payment declined by provider", Reason.PAYMENT_REFUSED),
        ("OrderCancelled", "Insufficient stock for product: X", Reason.STOCK_UNAVAILABLE),
        ("OrderCancelled", "Product not found: 1", Reason.STOCK_UNAVAILABLE),
        ("OrderCancelled", "Fed up", Reason.CUSTOMER_CANCELLED),
        ("OrderCancelled", None, Reason.CUSTOMER_CANCELLED),
    ],
)
def test_free_text_reasons_become_a_code_and_a_detail(
    name: str, text: str | None, reason: Reason
) -> None:
    """A foreign producer's reason is any text, or absent (contracts 1.3)."""
    payload = {"orderId": str(ORDER)} | ({} if text is None else {"reason": text})
    event = read(name, payload)
    assert isinstance(event, StockRejected | PaymentFailed | OrderCancelled)
    assert (event.reason, event.detail) == (reason, text)


def test_a_free_text_reason_keeps_the_exact_amount() -> None:
    """The slow way round a foreign reason does not go through a float."""
    value = (
        b'{"eventType":"PaymentFailed","payload":{"orderId":"%s","reason":"No","amount":'
        b"9999999999.99}}" % str(ORDER).encode()
    )
    assert CODEC.decode(message("PaymentFailed", value)) == PaymentFailed(
        order_id=ORDER,
        reason=Reason.PAYMENT_REFUSED,
        detail="No",
        amount=Decimal("9999999999.99"),
    )


@pytest.mark.parametrize(
    "money",
    [
        b'"NaN"', b'"Infinity"', b'"1_0"', b'" 1.5 "', b'"0x1"', b'""', b"null", b"true", b"-1",
        b"1e999999", b"1e99999999999999999999", b"99999999999", b'"\\u0661"', b"[1]", b"NaN",
    ],
)  # fmt: skip
def test_money_that_is_none_is_undecodable(money: bytes) -> None:
    """NaN, infinities, underscores, exotic digits and amounts beyond the books are refused (I6)."""
    for value in (FOREIGN % (b"29.9", money), FOREIGN % (money, b"59.80")):
        with pytest.raises(UndecodableMessageError) as raised:
            CODEC.decode(message("StockReserved", value))
        assert raised.value.message_ids == (UUID(int=5),)


@pytest.mark.parametrize("total", [b"0.015", b"0", b'"0.001"'])
def test_totals_that_cannot_be_charged_are_undecodable(total: bytes) -> None:
    """Nobody can charge nothing, or half a cent (C36)."""
    with pytest.raises(UndecodableMessageError):
        CODEC.decode(message("StockReserved", FOREIGN % (b"0.015", total)))


@pytest.mark.parametrize(
    "change",
    [
        {"items": []},
        {"items": [{"productId": str(MOUSE), "quantity": 0, "unitPrice": 1}]},
        {"items": [{"productId": str(MOUSE), "quantity": 2**31, "unitPrice": 1}]},
        {"items": [{"productId": str(MOUSE), "quantity": 2.5, "unitPrice": 1}]},
        {"items": [{"productId": str(MOUSE), "quantity": "2", "unitPrice": 1}]},
        {"items": [{"productId": str(MOUSE), "quantity": True, "unitPrice": 1}]},
        {"items": [None]},
        {"orderId": "no uuid"},
        {"currency": "euro"},
        {"currency": "E\0R"},
        {"notAfter": "2026-02-26T12:40:15"},
        {"notAfter": "9999-12-31T23:59:59-23:59"},
    ],
    ids=str,
)
def test_members_out_of_bounds_are_undecodable(change: dict[str, object]) -> None:
    """What no table could hold is refused where it is read."""
    payload = {
        "orderId": str(ORDER),
        "items": [{"productId": str(MOUSE), "quantity": 1, "unitPrice": 1}],
        "totalAmount": 1,
        "currency": "EUR",
    }
    assert read("StockReserved", payload)
    with pytest.raises(UndecodableMessageError):
        read("StockReserved", payload | change)


def test_u_0000_in_a_text_is_undecodable() -> None:
    """No PostgreSQL text can hold it, whichever way the reason came."""
    for payload in ({"reason": "No\0"}, {"reason": "deadline", "detail": "\0"}):
        with pytest.raises(UndecodableMessageError):
            read("StockRejected", {"orderId": str(ORDER), **payload})


def test_unknown_types_are_skipped() -> None:
    """A type that nobody here knows is None, whatever its bytes are (C9)."""
    assert CODEC.decode(message("OrderArchived", b"\xff")) is None


def test_newer_versions_wait_for_a_newer_reader() -> None:
    """A version beyond ours is a dead letter that says what to do, never half understood (C39)."""
    confirmed = OrderConfirmed(order_id=ORDER)
    newer = message("OrderConfirmed", written(confirmed), version=2)
    with pytest.raises(UndecodableMessageError, match="newer reader"):
        CODEC.decode(newer)
    with pytest.raises(UndecodableMessageError, match="newer reader"):
        read("OrderConfirmed", {"orderId": str(ORDER)}, version=2)
    assert read("OrderConfirmed", {"orderId": str(ORDER)}) == confirmed


def test_a_record_of_another_type_is_undecodable() -> None:
    """A value that names another type than its record is no such event."""
    value = written(StockReleased(order_id=ORDER))
    with pytest.raises(UndecodableMessageError, match="StockReleased"):
        CODEC.decode(message("OrderConfirmed", value))


def assert_event_or_refused(value: bytes, name: str) -> None:
    """Decode; the only error may be the one that makes a dead letter of this message."""
    poison: tuple[UUID, ...] = ()
    event: object = None
    try:
        event = CODEC.decode(message(name, value))
    except UndecodableMessageError as error:
        poison = error.message_ids
    assert poison == (UUID(int=5),) or type(event).__name__ == name


@given(st.binary(max_size=200), st.sampled_from([struct.__name__ for struct in EVENTS]))
@example(b'{"a":' + b"[" * 100_000, "OrderCreated")
@example(b'{"eventType":"StockRejected","payload":' + b"[" * 100_000, "StockRejected")
@example(b'{"eventType":"\\ud800","payload":{}}', "OrderConfirmed")
@example(b"\xff\xfe", "OrderConfirmed")
@example(b"", "OrderConfirmed")
def test_no_bytes_do_more_than_be_refused(value: bytes, name: str) -> None:
    """Any bytes are an event or an UndecodableMessageError that names the message."""
    assert_event_or_refused(value, name)


@given(events, st.data())
def test_damaged_records_do_no_more_than_be_refused(event: Event, data: st.DataObject) -> None:
    """So do records with a byte changed, cut off or put in."""
    value = bytearray(written(event))
    at = data.draw(st.integers(0, len(value) - 1))
    match data.draw(st.sampled_from(["change", "cut", "insert"])):
        case "change":
            value[at] = data.draw(st.integers(0, 255))
        case "cut":
            del value[at:]
        case _:
            value[at:at] = data.draw(st.binary(min_size=1, max_size=4))
    assert_event_or_refused(bytes(value), CODEC.type_name(event))


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = sorted({field for struct in EVENTS for field in struct.__struct_encode_fields__})


@given(st.sampled_from(EVENTS), st.dictionaries(st.sampled_from(NAMES), json), st.uuids())
def test_strange_payloads_do_no_more_than_be_refused(
    struct: type[Event], payload: dict[str, object], order_id: UUID
) -> None:
    """So does JSON of the right names with any values in it."""
    value = msgspec.json.encode(
        {"eventType": struct.__name__, "payload": {"orderId": str(order_id), **payload}}
    )
    assert_event_or_refused(value, struct.__name__)


def test_foreign_objects_are_a_mistake_of_the_program() -> None:
    """Publishing what the blueprint does not know fails at once, and says so."""
    with pytest.raises(ConfigurationError, match="not registered"):
        CODEC.topic(Line(MOUSE, 1, Decimal(1)))


def test_topics_are_the_document_s() -> None:
    """Each event stands in its producer's topic (contracts 1.3)."""
    assert CODEC.topic(
        RefundRequested(order_id=ORDER, amount=Decimal(1), reason=Reason.DEADLINE)
    ) == (ORDER_EVENTS)
    assert {event for events in TOPICS.values() for event in events} == set(EVENTS)
    assert sum(map(len, TOPICS.values())) == len(EVENTS)
    assert TOPICS[INVENTORY_EVENTS] == (StockReserved, StockRejected, StockReleased)


def test_every_event_has_somebody_who_acts_on_it() -> None:
    """No service reads what stands in no topic, and every fact of the process reaches its host."""
    for service in SERVICES.values():
        for topic, acted_on in service.acts_on.items():
            assert set(acted_on) <= set(TOPICS[topic])
    host = SERVICES["order-service"].acts_on
    heard = {event.__name__ for events in host.values() for event in events}
    assert heard | {"CancelRequested"} == PROCESS.facts
    everything = {e for s in SERVICES.values() for events in s.acts_on.values() for e in events}
    assert everything == set(EVENTS)
