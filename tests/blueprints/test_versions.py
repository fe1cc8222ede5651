"""Event versions (C39): an older one is raised to today's as it is read, a newer one is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from tests.blueprints.samples import AT, ORDER

from waybill.blueprints import enveloped
from waybill.blueprints.flat import FlatCodec, Form
from waybill.blueprints.wire import EnvelopeCodec
from waybill.commerce.contracts import Event, PaymentFailed, PaymentSucceeded, Reason
from waybill.messaging.core.errors import UndecodableMessageError
from waybill.messaging.core.message import Message

if TYPE_CHECKING:
    from waybill.blueprints.definition import WireCodec

PAYMENT = UUID(int=7)


def split(members: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had the amount in a string with its currency."""
    amount, _, _currency = members.pop("sum").partition(" ")
    return {**members, "total": Decimal(amount)}


def named(members: dict[str, Any]) -> dict[str, Any]:
    """Version 2 called the amount a total."""
    return {"amount" if name == "total" else name: value for name, value in members.items()}


class Paid(msgspec.Struct, frozen=True, rename="camel"):
    """payment.authorized, version 3, flat."""

    event_type: str
    version: int
    order_id: UUID
    payment_id: UUID
    amount: Decimal


def write_flat(event: PaymentSucceeded, message: Message) -> Paid:
    """As a blueprint does."""
    return Paid(message.type, message.version, event.order_id, event.payment_id, event.amount)


def read_flat(paid: Paid | PaidData) -> PaymentSucceeded:
    """As a blueprint does."""
    if not paid.amount.is_finite():
        raise ValueError(f"{paid.amount} is no amount of money")
    return PaymentSucceeded(order_id=paid.order_id, payment_id=paid.payment_id, amount=paid.amount)


ENVELOPE = EnvelopeCodec({PaymentSucceeded: "payment-events"}, {PaymentSucceeded: (split, named)})
FLAT = FlatCodec(
    [Form(PaymentSucceeded, "PaymentSucceeded", Paid, write_flat, read_flat, (split, named))]
)


class PaidData(msgspec.Struct, frozen=True, rename="camel"):
    """The same as `data`."""

    order_id: UUID
    payment_id: UUID
    amount: Decimal


def write_data(event: PaymentSucceeded) -> PaidData:
    """As a blueprint does."""
    return PaidData(event.order_id, event.payment_id, event.amount)


ENVELOPED = enveloped.EnvelopedCodec(
    [
        enveloped.Form(
            (PaymentSucceeded,),
            "payment.events",
            "PaymentSucceeded",
            PaidData,
            write_data,
            read_flat,
            (split, named),
        )
    ]
)
MEMBERS: dict[int, dict[str, Any]] = {
    1: {"sum": "19.90 EUR"},
    2: {"total": 19.9},
    3: {"amount": 19.9},
}
PAID = PaymentSucceeded(order_id=ORDER, payment_id=PAYMENT, amount=Decimal("19.9"))


def message(value: bytes, version: int, name: str = "PaymentSucceeded") -> Message:
    """A record with these bytes."""
    return Message(
        id=UUID(int=5),
        topic="payment-events",
        type=name,
        version=version,
        key=str(ORDER),
        value=value,
        occurred_at=AT,
    )


def in_envelope(version: int, **members: object) -> bytes:
    """As seed 003 has it."""
    payload = {"orderId": str(ORDER), "paymentId": str(PAYMENT), **members}
    body = {"eventType": "PaymentSucceeded", "version": version, "payload": payload}
    return json.dumps(body).encode()


def in_data(_version: int, **members: object) -> bytes:
    """As seed 004 has it: the version stands beside it."""
    data = {"orderId": str(ORDER), "paymentId": str(PAYMENT), **members}
    return json.dumps({"type": "PaymentSucceeded", "data": data}).encode()


def flat(version: int, **members: object) -> bytes:
    """As seed 001 has it."""
    head = {"eventType": "PaymentSucceeded", "version": version, "orderId": str(ORDER)}
    return json.dumps({**head, "paymentId": str(PAYMENT), **members}).encode()


codecs = pytest.mark.parametrize(
    ("codec", "write"),
    [(ENVELOPE, in_envelope), (FLAT, flat), (ENVELOPED, in_data)],
    ids=["envelope", "flat", "data"],
)


@codecs
@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_older_version_is_read_as_todays(codec: WireCodec, write: Any, version: int) -> None:  # noqa: ANN401 - see above
    """Through every version between, money exact."""
    assert codec.decode(message(write(version, **MEMBERS[version]), version)) == PAID


@codecs
def test_todays_version_is_written(codec: WireCodec, write: Any) -> None:  # noqa: ANN401 - see above
    """In the envelope's header and in the value; with the members of today."""
    assert codec.version(PAID) == codec.written_version(PaymentSucceeded) == 3
    value = json.loads(codec.encode(PAID, message(b"", 3)))
    assert value.get("version", 3) == 3
    assert codec.decode(message(write(3, **MEMBERS[3]), 3)) == PAID
    assert value.get("payload", value.get("data", value))["amount"] == 19.9


@codecs
def test_a_newer_version_is_a_dead_letter(codec: WireCodec, write: Any) -> None:  # noqa: ANN401 - see above
    """Never half understood: it says which version this reader knows, and what to do."""
    with pytest.raises(UndecodableMessageError, match="this reader knows 3: deploy a newer"):
        codec.decode(message(write(4, **MEMBERS[3]), 4))


@codecs
@pytest.mark.parametrize(
    ("version", "members"),
    [
        (0, MEMBERS[3]),
        (-1, MEMBERS[1]),
        (1, MEMBERS[3]),
        (1, {"sum": 5}),
        (1, {"sum": "NaN EUR"}),
        (1, {"sum": "much"}),
        (2, {"total": None}),
        (2, {"total": "x" * 9}),
    ],
)
def test_what_is_not_as_its_version_says_is_a_dead_letter(
    codec: WireCodec,
    write: Any,  # noqa: ANN401 - see above
    version: int,
    members: dict[str, Any],
) -> None:
    """Whatever an upcast makes of it: one error and no other (protocol C7)."""
    with pytest.raises(UndecodableMessageError) as raised:
        codec.decode(message(write(version, **members), version))
    assert raised.value.message_ids == (UUID(int=5),)


@codecs
def test_a_value_of_another_version_than_its_record_is_a_dead_letter(
    codec: WireCodec,
    write: Any,  # noqa: ANN401 - see above
) -> None:
    """The record says 1, the value 2: which upcasts to apply is anybody's guess."""
    with pytest.raises(UndecodableMessageError):
        codec.decode(message(write(2, **MEMBERS[2]), 1))


def test_a_strangers_reason_is_understood_in_older_versions_too() -> None:
    """Seed 003's reasons are free text, whatever the version."""

    def same(members: dict[str, Any]) -> dict[str, Any]:
        return members

    events: dict[type[Event], str] = {PaymentFailed: "payment-events"}
    codec = EnvelopeCodec(events, {PaymentFailed: (same,)})
    payload = {"orderId": str(ORDER), "reason": "Payment declined by provider"}
    value = json.dumps({"eventType": "PaymentFailed", "version": 1, "payload": payload}).encode()
    assert codec.decode(message(value, 1, "PaymentFailed")) == PaymentFailed(
        order_id=ORDER, reason=Reason.PAYMENT_REFUSED, detail="Payment declined by provider"
    )
