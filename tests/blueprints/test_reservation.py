"""The blueprint `reservation`: seed 001's JSON to the letter, its statuses, its process proven."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest

from waybill.blueprints import reservation_http as http
from waybill.blueprints.reservation import PROCESS, RESERVATION, read_foreign, tell
from waybill.blueprints.reservation_wire import OrderConfirmed, OrderCreated, OrderFailed, codec
from waybill.commerce import checker, contracts
from waybill.commerce.checker.actors import InventoryActor, NotificationActor, OrderActor
from waybill.commerce.http.problem import Problem
from waybill.commerce.inventory.domain import Reservation, ReservationStatus
from waybill.commerce.orders import domain
from waybill.commerce.process import CANCEL_REQUESTED, Fact, advance, begin, may_cancel, settled
from waybill.commerce.sku import product_of, with_skus
from waybill.messaging.core.errors import UndecodableMessageError
from waybill.messaging.core.message import ForeignRecord, Message

if TYPE_CHECKING:
    from waybill.commerce.checker.model import Actor, Limits
    from waybill.commerce.process import Process

ORDER = UUID("f7a1c2d3-0000-7000-8000-000000000001")
CREATED_AT = datetime(2025, 8, 12, 10, 23, 1, tzinfo=UTC)
CREATED = """{
  "eventType": "order.created", "version": 1,
  "orderId": "f7a1c2d3-0000-7000-8000-000000000001",
  "customerEmail": "alice@example.com",
  "items": [{"sku": "SKU-123", "quantity": 2, "unitPrice": 1299}],
  "totalAmount": 2598, "createdAt": "2025-08-12T10:23:01Z"
}"""
RESERVED = """{
  "eventType": "inventory.reserved", "version": 1,
  "orderId": "f7a1c2d3-0000-7000-8000-000000000001",
  "reservations": [{"sku": "SKU-123", "quantity": 2}]
}"""
BODY = (
    b'{"customerEmail":"alice@example.com",'
    b'"items":[{"sku":"SKU-123","quantity":2,"unitPrice":1299}]}'
)


def record(value: str | bytes, topic: str) -> Message:
    """A stranger's record, as the reader of this blueprint takes it."""
    encoded = value.encode() if isinstance(value, str) else value
    return read_foreign(
        ForeignRecord(
            topic=topic,
            partition=0,
            offset=7,
            key=str(ORDER),
            value=encoded,
            headers={},
            timestamp=CREATED_AT,
        )
    )


def written(event: contracts.Event) -> dict[str, Any]:
    """What stands on the wire for this event."""
    wire = codec()
    message = Message(
        id=UUID(int=1),
        topic=wire.topic(event),
        type=wire.type_name(event),
        key=str(ORDER),
        value=b"",
        occurred_at=CREATED_AT,
    )
    shown: dict[str, Any] = json.loads(wire.encode(event, message), parse_float=Decimal)
    return shown


@pytest.mark.parametrize(
    ("example", "topic"), [(CREATED, "order.created"), (RESERVED, "inventory.reserved")]
)
def test_the_documents_examples_come_back_as_they_are(example: str, topic: str) -> None:
    """Read as a stranger's record and written again: the same members and values."""
    event = codec().decode(record(example, topic))
    assert isinstance(event, contracts.Event)
    assert written(event) == json.loads(example)


def placed_order() -> domain.Order:
    """The order of the document's example, as the services keep it."""
    content = http.parse(BODY)
    command = domain.PlaceOrder(
        content.customer_id, content.items, content.currency, content.particulars
    )
    makers = RESERVATION.orders.makers
    order, _, first = domain.place(
        PROCESS, command, ORDER, now=CREATED_AT, deadline=timedelta(minutes=15), makers=makers
    )
    assert first is not None
    assert written(first.event) == {
        **json.loads(CREATED),
        "notAfter": "2025-08-12T10:38:01Z",
    }
    return order


@pytest.mark.parametrize(
    ("made", "members"),
    [
        ("OrderConfirmed", {"totalAmount", "confirmedAt"}),
        ("OrderFailed", {"reason", "failedAt"}),
        ("OrderCancelled", {"reason", "canceledAt"}),
    ],
)
def test_endings_are_written_as_documented(made: str, members: set[str]) -> None:
    """Each with what every event begins with, its own members, and the address of its mail."""
    event = RESERVATION.orders.makers[made](placed_order())
    shown = written(event)
    assert set(shown) == {"eventType", "version", "orderId", "customerEmail", *members}
    assert shown["version"] == 1
    assert shown["eventType"] == codec().topic(event)


def test_a_refusal_says_what_was_wanted_and_what_there_was() -> None:
    """inventory.rejected lists the SKUs."""
    tombstone = Reservation(ORDER, ReservationStatus.REJECTED)
    (line,) = with_skus(http.parse(BODY).items, ["SKU-123"])
    shown = written(RESERVATION.stock.reject(tombstone, [(line, 1)]))
    assert shown["items"] == [{"sku": "SKU-123", "quantity": 2, "available": 1}]
    assert shown["reason"] == "stock_unavailable"


@pytest.mark.parametrize(
    "value",
    [
        b"{}",
        b"\xff",
        CREATED.replace("2598", '"NaN"').encode(),
        CREATED.replace('"SKU-123"', '""').encode(),
        CREATED.replace('"SKU-123"', '"a\\u0000b"').encode(),
        CREATED.replace('"version": 1', '"version": 2').encode(),
        CREATED.replace('"quantity": 2', '"quantity": 0').encode(),
        CREATED.replace("order.created", "inventory.reserved").encode(),
    ],
)
def test_what_is_no_such_event_is_a_dead_letter(value: bytes) -> None:
    """One error and no other, so that it ends in `.dlq` (protocol C7)."""
    message = Message(
        id=UUID(int=2),
        topic="order.created",
        type="order.created",
        key=str(ORDER),
        value=value,
        occurred_at=CREATED_AT,
    )
    with pytest.raises(UndecodableMessageError):
        codec().decode(message)


def test_redeliveries_of_a_strangers_record_are_one_message() -> None:
    """The document has no event id: what stands at one place of a topic is one message."""
    assert record(CREATED, "order.created").id == record(CREATED, "order.created").id


def test_a_customer_is_told_in_the_documents_words() -> None:
    """'Email to X: your order is …'."""
    order = placed_order()
    lines = {
        name: tell(RESERVATION.orders.makers[name](order))
        for name in ("OrderConfirmed", "OrderFailed", "OrderCancelled", "OrderCreated")
    }
    assert [each and each.log_line for each in lines.values()] == [
        "Email to alice@example.com: your order is CONFIRMED",
        "Email to alice@example.com: your order is FAILED",
        "Email to alice@example.com: your order is CANCELED",
        None,
    ]


@pytest.mark.parametrize(
    ("facts", "status", "owes"),
    [
        (["StockReserved"], "CONFIRMED", ("OrderConfirmed",)),
        (["StockRejected"], "FAILED", ("OrderFailed",)),
        ([CANCEL_REQUESTED], "CANCELED", ("OrderCancelled",)),
        (
            ["StockReserved", CANCEL_REQUESTED],
            "CANCELED",
            ("OrderCancelled", "StockReleaseRequested"),
        ),
        ([CANCEL_REQUESTED, "StockReserved"], "CANCELED", ("StockReleaseRequested",)),
        (["StockRejected", CANCEL_REQUESTED], "FAILED", ()),
    ],
)
def test_statuses_follow_the_facts(facts: list[str], status: str, owes: tuple[str, ...]) -> None:
    """A cancelled order is CANCELED, a refused one FAILED; reserved stock is released."""
    progress = begin(PROCESS)
    emitted: tuple[str, ...] = ()
    for fact in facts:
        result = advance(PROCESS, progress, Fact(fact))
        progress, emitted = result.progress, result.emits
    assert (progress.status, emitted) == (status, owes)


def test_a_late_cancel_is_open_until_its_stock_is_back() -> None:
    """A confirmed order is settled; cancelled, it is armed again until the release is answered."""
    confirmed = advance(PROCESS, begin(PROCESS), Fact("StockReserved")).progress
    assert settled(PROCESS, confirmed)
    assert may_cancel(PROCESS, confirmed)
    canceled = advance(PROCESS, confirmed, Fact(CANCEL_REQUESTED)).progress
    assert not settled(PROCESS, canceled)
    assert settled(PROCESS, advance(PROCESS, canceled, Fact("StockReleased")).progress)


def participants(process: Process, _limits: Limits, available: int) -> list[Actor]:
    """The services of this blueprint, with the events that it makes."""
    kept = http.Particulars("alice@example.com", ("SKU-123",))
    order = OrderActor(
        process, makers=RESERVATION.orders.makers, particulars=msgspec.json.encode(kept)
    )
    return [order, InventoryActor(available, sells=False), NotificationActor()]


def test_the_checker_finds_nothing() -> None:
    """Every interleaving ends, with no stock held but a confirmed order's."""
    walk = checker.check(PROCESS, participants, sells=False)
    assert walk.counterexample is None, str(walk.counterexample)
    assert walk.endings > 100


def test_the_checker_finds_a_release_that_is_forgotten() -> None:
    """A process that lets a customer cancel without giving the stock back is caught."""
    (step,) = PROCESS.steps
    forgetful = replace(step, undo=None, undone=None, outside_effect=False)
    walk = checker.check(replace(PROCESS, steps=(forgetful,)), participants, sells=False)
    assert walk.counterexample is not None
    assert "reserved: 2" in walk.counterexample.problem


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"[]", ""),
        (BODY.replace(b"alice@example.com", b"alice"), "/customerEmail"),
        (BODY.replace(b'"SKU-123"', b'""'), "/items/0/sku"),
        (BODY.replace(b"1299", b"0"), "/items/0/unitPrice"),
        (BODY.replace(b'"quantity":2', b'"quantity":"2"'), "/items/0/quantity"),
        (b'{"customerEmail":"alice@example.com","items":[]}', "/items"),
    ],
)
def test_a_body_that_is_not_valid_is_told_where(body: bytes, pointer: str) -> None:
    """400 with a pointer at each mistake."""
    with pytest.raises(Problem) as refused:
        http.parse(body)
    assert refused.value.status == 400
    assert f"#{pointer}" in [error.pointer for error in refused.value.errors]


def test_a_sku_is_one_product_and_a_uuid_is_its_own() -> None:
    """The same text is the same product, here and in SQL."""
    assert product_of("SKU-123") == product_of("SKU-123") != product_of("SKU-124")
    assert product_of(str(ORDER)) == ORDER
    assert product_of(" x") is product_of("") is product_of(5) is None


def test_shared_services_know_its_events() -> None:
    """What its codec gives are canonical events to everybody else."""
    canonical = (contracts.OrderCreated, contracts.OrderConfirmed, contracts.OrderCancelled)
    assert all(
        issubclass(event, canonical) for event in (OrderCreated, OrderConfirmed, OrderFailed)
    )
    assert msgspec.json.encode(http.Placed(ORDER, "PENDING")) == (
        b'{"orderId":"f7a1c2d3-0000-7000-8000-000000000001","status":"PENDING"}'
    )
