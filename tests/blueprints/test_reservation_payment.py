"""`reservation` with its payment step: the decided JSON, its process proven, one setting."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from tests.blueprints.test_reservation import CREATED_AT, ORDER, placed_order

from waybill.blueprints import reservation_http as http
from waybill.blueprints.catalogue import BLUEPRINTS, blueprint_named, with_payment
from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.blueprints.reservation import RESERVATION
from waybill.blueprints.reservation_payment import (
    PROCESS,
    RESERVATION_PAID,
    StockRequested,
    codec,
)
from waybill.commerce import checker, contracts
from waybill.commerce.checker.actors import InventoryActor, NotificationActor, OrderActor
from waybill.commerce.checker.payment_actor import PaymentActor
from waybill.commerce.contracts import (
    PaymentFailed,
    PaymentRefunded,
    PaymentSucceeded,
    Reason,
    RefundRequested,
)
from waybill.commerce.process import CANCEL_REQUESTED, Fact, advance, begin, settled, unanswered
from waybill.messaging.core.errors import ConfigurationError, UndecodableMessageError
from waybill.messaging.core.message import Message
from waybill.platform.chosen import chosen, claim
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from waybill.commerce.checker.model import Actor, Limits
    from waybill.commerce.process import Process

PAYMENT = UUID(int=4)
EVENTS: list[contracts.Event] = [
    PaymentSucceeded(order_id=ORDER, payment_id=PAYMENT, amount=Decimal(2598)),
    PaymentFailed(order_id=ORDER, amount=Decimal(2598), reason=Reason.PAYMENT_REFUSED),
    PaymentFailed(order_id=ORDER, reason=Reason.CUSTOMER_CANCELLED, detail="cancelled"),
    RefundRequested(order_id=ORDER, amount=Decimal(2598), reason=Reason.STOCK_UNAVAILABLE),
    PaymentRefunded(order_id=ORDER, payment_id=PAYMENT, amount=Decimal(2598), refund_id=PAYMENT),
]


def message(event: contracts.Event) -> Message:
    """The message of this event."""
    wire = codec()
    empty = Message(
        id=UUID(int=1),
        topic=wire.topic(event),
        type=wire.type_name(event),
        key=str(ORDER),
        value=b"",
        occurred_at=CREATED_AT,
    )
    return msgspec.structs.replace(empty, value=wire.encode(event, empty))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_payments_are_written_as_decided_and_read_again(event: contracts.Event) -> None:
    """Flat, with type and version before their members (contracts 7)."""
    written = message(event)
    shown: dict[str, Any] = json.loads(written.value, parse_int=Decimal)
    assert [*shown][:3] == ["eventType", "version", "orderId"]
    assert shown["eventType"] == written.topic
    if isinstance(event, PaymentSucceeded):
        assert {**shown}.keys() - {"eventType", "version"} == {"orderId", "paymentId", "amount"}
    assert codec().decode(written) == event


def test_money_that_is_none_is_a_dead_letter() -> None:
    """The books would not hold it."""
    sound = message(EVENTS[0])
    for amount in (b'"NaN"', b"-1", b"0.001"):
        broken = msgspec.structs.replace(sound, value=sound.value.replace(b"2598", amount))
        with pytest.raises(UndecodableMessageError):
            codec().decode(broken)


def test_inventory_is_asked_with_the_lines() -> None:
    """Once it is paid: for what was ordered, until the order's deadline."""
    order = placed_order()
    asked = RESERVATION_PAID.orders.makers["StockRequested"](order)
    assert isinstance(asked, StockRequested)
    read = codec().decode(message(asked))
    assert isinstance(read, StockRequested)
    assert (read.items, read.not_after) == (asked.items, order.not_after)


@pytest.mark.parametrize(
    ("facts", "status", "emits"),
    [
        (["PaymentSucceeded"], "PENDING", ["StockRequested"]),
        (["PaymentSucceeded", "StockReserved"], "CONFIRMED", ["StockRequested", "OrderConfirmed"]),
        (["PaymentFailed"], "FAILED", ["OrderFailed"]),
        (
            ["PaymentSucceeded", "StockRejected"],
            "FAILED",
            ["StockRequested", "OrderFailed", "RefundRequested"],
        ),
        (
            ["PaymentSucceeded", "StockReserved", CANCEL_REQUESTED],
            "CANCELED",
            [
                *("StockRequested", "OrderConfirmed", "OrderCancelled"),
                *("StockReleaseRequested", "RefundRequested"),
            ],
        ),
        (
            [CANCEL_REQUESTED, "PaymentSucceeded"],
            "CANCELED",
            ["OrderCancelled", "StockReleaseRequested", "RefundRequested"],
        ),
    ],
)
def test_statuses_follow_the_facts(facts: list[str], status: str, emits: list[str]) -> None:
    """Payment first, then stock; what fails later gives the money back."""
    progress = begin(PROCESS)
    told: list[str] = []
    for fact in facts:
        result = advance(PROCESS, progress, Fact(fact))
        progress = result.progress
        told += result.emits
    assert (progress.status, told) == (status, emits)


@pytest.mark.parametrize("payment", [["PaymentSucceeded", "PaymentRefunded"], ["PaymentFailed"]])
def test_a_cancel_while_it_is_paid_is_settled_without_the_deadline(payment: list[str]) -> None:
    """Stock is asked back although nobody may have asked for it: inventory's answer settles."""
    progress = begin(PROCESS)
    for fact in (CANCEL_REQUESTED, *payment, "StockReleased"):
        assert not settled(PROCESS, progress)
        progress = advance(PROCESS, progress, Fact(fact)).progress
        if fact == "PaymentFailed":
            break
    assert settled(PROCESS, progress)


def test_the_deadline_asks_for_the_step_whose_turn_it_is() -> None:
    """For the payment first, then for the stock."""
    assert unanswered(PROCESS, begin(PROCESS)) == ("OrderCreated",)
    paid = advance(PROCESS, begin(PROCESS), Fact("PaymentSucceeded")).progress
    assert unanswered(PROCESS, paid) == ("StockRequested",)


def participants(process: Process, limits: Limits, available: int) -> list[Actor]:
    """The services of this blueprint, with the events that it makes."""
    kept = http.Particulars("alice@example.com", ("SKU-123",))
    makers = RESERVATION_PAID.orders.makers
    return [
        OrderActor(process, makers=makers, particulars=msgspec.json.encode(kept)),
        InventoryActor(available, sells=False, wants=RESERVATION_PAID.stock.wants),
        PaymentActor(
            unknowns=limits.unknowns,
            strays=limits.strays,
            charges=RESERVATION_PAID.payments.charges,
        ),
        NotificationActor(),
    ]


@pytest.mark.parametrize(
    "limits",
    [
        checker.Limits(duplicates=1, dead_letters=1, losses=1),
        checker.Limits(unknowns=1, strays=1),
        *(pytest.param(each, marks=pytest.mark.long) for each in checker.FAULTS),
    ],
    ids=str,
)
def test_the_checker_finds_nothing(limits: Limits) -> None:
    """Every interleaving ends, with money and stock where the status says."""
    walk = checker.check(PROCESS, participants, [limits], sells=False)
    assert walk.counterexample is None, str(walk.counterexample)
    assert walk.endings > 20


def test_one_setting_adds_the_step(tmp_path: Path) -> None:
    """WAYBILL_PAYMENT_STEP; data with and without it are told apart (C42)."""
    data = {"data_directory": tmp_path, "blueprint": "reservation"}
    assert chosen(Settings.load(**data)) is RESERVATION
    assert claim(Settings.load(**data, payment_step=True)) is RESERVATION_PAID
    assert chosen(Settings.load(data_directory=tmp_path)) is RESERVATION_PAID
    with pytest.raises(ConfigurationError, match="holds data of the blueprint 'reservation-paid'"):
        chosen(Settings.load(**data))
    assert blueprint_named("reservation-paid") is with_payment(RESERVATION_PAID)
    assert "reservation-paid" not in BLUEPRINTS


def test_a_blueprint_without_such_a_step_is_told() -> None:
    """In one line that names those that have it."""
    with pytest.raises(ConfigurationError, match="choreography has no optional payment step"):
        with_payment(CHOREOGRAPHY)
