"""The blueprint `notify`: seed 000's JSON, its requests, its two statuses, and that it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from waybill.blueprints import notify_http as http
from waybill.blueprints.notify import NOTIFY, PROCESS, NotifyRefused, NotifySucceeded
from waybill.blueprints.notify_wire import NotifyCodec, read_foreign
from waybill.commerce import checker
from waybill.commerce.checker.notice_actor import NotifyingOrderActor, told_once
from waybill.commerce.contracts import OrderCreated
from waybill.commerce.http.problem import Problem
from waybill.commerce.inventory.own_orders import Lack
from waybill.commerce.numbers import id_of
from waybill.commerce.orders import domain
from waybill.commerce.process import Fact, advance, begin
from waybill.messaging.core.errors import UndecodableMessageError
from waybill.messaging.core.message import ForeignRecord, Message

if TYPE_CHECKING:
    from waybill.commerce.checker.model import Actor, Limits
    from waybill.commerce.process import Process

ORDER = UUID("f7a1c2d3-0000-7000-8000-000000000001")
AT = datetime(2025, 8, 12, 10, 23, 1, tzinfo=UTC)
BODY = b'{"userId": 1, "productIds": [1, 2, 3]}'
EXAMPLE = b'{"orderId":1,"userId":1,"productIds":[1,2,3]}'


def message(value: bytes) -> Message:
    """A message of ours with this value."""
    codec = NotifyCodec()
    return Message(
        id=UUID(int=1),
        topic=codec.topic(placed_event()),
        type="ORDER_CREATED",
        key=str(ORDER),
        value=value,
        occurred_at=AT,
    )


def foreign(value: bytes) -> Message:
    """A stranger's record, as the reader of this blueprint takes it."""
    return read_foreign(
        ForeignRecord(
            topic="order-notifications",
            partition=0,
            offset=7,
            key="",
            value=value,
            headers={},
            timestamp=AT,
        )
    )


def placed_event() -> OrderCreated:
    """What the order of the document's request tells."""
    content = http.parse(BODY)
    command = domain.PlaceOrder(content.customer_id, content.items, content.currency)
    _, _, first = domain.place(PROCESS, command, ORDER, now=AT, deadline=timedelta(minutes=15))
    assert first is not None
    assert isinstance(first.event, OrderCreated)
    return first.event


def test_the_event_is_the_documents_json() -> None:
    """Order, user and products in whole numbers; read again it is the same event."""
    codec, event = NotifyCodec(), placed_event()
    value = codec.encode(event, message(b""))
    assert json.loads(value) == {"orderId": str(ORDER), "userId": 1, "productIds": [1, 2, 3]}
    again = codec.decode(message(value))
    assert isinstance(again, OrderCreated)
    assert (again.order_id, again.customer_id, again.items) == (
        ORDER,
        event.customer_id,
        event.items,
    )


def test_a_strangers_record_is_taken() -> None:
    """The document's own example, its order a number; what stands at one place is one message."""
    taken = foreign(EXAMPLE)
    event = NotifyCodec().decode(taken)
    assert isinstance(event, OrderCreated)
    assert event.order_id == id_of(1)
    assert taken.value == EXAMPLE, "POST /notify gets it as it came"
    assert taken.id == foreign(EXAMPLE).id


@pytest.mark.parametrize(
    "value",
    [
        b"{}",
        b"\xff",
        EXAMPLE.replace(b"[1,2,3]", b"[]"),
        EXAMPLE.replace(b"[1,2,3]", b"[0]"),
        EXAMPLE.replace(b'"userId":1', b'"userId":"1"'),
        EXAMPLE.replace(b'"orderId":1', b'"orderId":"x"'),
        EXAMPLE.replace(b'"userId":1', b'"userId":99999999999'),
    ],
)
def test_what_is_no_such_event_is_a_dead_letter(value: bytes) -> None:
    """One error and no other, with headers and without (protocol C7)."""
    with pytest.raises(UndecodableMessageError):
        NotifyCodec().decode(message(value))
    with pytest.raises(UndecodableMessageError):
        foreign(value)


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b"[]", [""]),
        (b"{}", ["/userId", "/productIds"]),
        (b'{"userId": true, "productIds": [1]}', ["/userId"]),
        (b'{"userId": 1, "productIds": []}', ["/productIds"]),
        (b'{"userId": 1, "productIds": [1, 0, "2", 2.5]}', [f"/productIds/{n}" for n in (1, 2, 3)]),
        (b'{"userId": 4294967296, "productIds": [1]}', ["/userId"]),
    ],
)
def test_a_body_that_is_not_valid_is_told_where(body: bytes, pointers: list[str]) -> None:
    """400 with a pointer at each mistake."""
    with pytest.raises(Problem) as refused:
        http.parse(body)
    assert refused.value.status == 400
    assert [error.pointer for error in refused.value.errors] == [f"#{each}" for each in pointers]


def test_what_is_not_there_is_told() -> None:
    """404 for an unknown product, 409 for too few (C32)."""
    unknown = http.refuse(Lack(id_of(7), "Product not found"))
    assert (unknown.status, unknown.code) == (404, "product_not_found")
    assert unknown.detail == "There is no product 7"
    few = http.refuse(Lack(None, "Insufficient stock for product: Phone"))
    assert (few.status, few.code, few.detail) == (
        409,
        "out_of_stock",
        "Insufficient stock for product: Phone",
    )


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (["NotifySucceeded"], "NOTIFIED"),
        (["NotifySucceeded", "NotifySucceeded"], "NOTIFIED"),
        (["NotifyRefused"], "FAILED"),
        (["NotifyRefused", "NotifySucceeded"], "FAILED"),
    ],
)
def test_statuses_follow_the_facts(facts: list[str], status: str) -> None:
    """PLACED until the other side has it, or an operator gives up; nobody is told of the end."""
    progress = begin(PROCESS)
    assert progress.status == "PLACED"
    for fact in facts:
        result = advance(PROCESS, progress, Fact(fact))
        progress = result.progress
        assert result.emits == ()
    assert progress.status == status


def participants(
    process: Process, limits: Limits, _available: int, *, idempotent: bool = True
) -> list[Actor]:
    """The order service with its calls; the receiver is part of it here."""
    return [
        NotifyingOrderActor(
            process,
            done=NotifySucceeded,
            refused=NotifyRefused,
            lost=limits.unknowns,
            failing=limits.strays + limits.losses,
            receiver_is_idempotent=idempotent,
        )
    ]


def test_the_checker_finds_nothing() -> None:
    """Every interleaving ends, and the receiver was told once of each order that is NOTIFIED."""
    walk = checker.check(PROCESS, participants, judge=partial(told_once, PROCESS))
    assert walk.counterexample is None, str(walk.counterexample)
    assert walk.endings > 20


def test_the_checker_finds_a_receiver_that_takes_a_repeat_for_new() -> None:
    """An answer that is lost has the call made again: without its key it would count twice."""
    build: Any = partial(participants, idempotent=False)
    walk = checker.check(PROCESS, build, judge=partial(told_once, PROCESS))
    assert walk.counterexample is not None
    assert "told 2 times" in walk.counterexample.problem


def test_the_checker_finds_an_order_that_nobody_asks_about() -> None:
    """Reconciliation is the deadline's question: without it a lost message strands its order."""
    process = replace(PROCESS, has_deadline=False)
    walk = checker.check(process, participants, judge=partial(told_once, process))
    assert walk.counterexample is not None
    assert "stays PLACED for ever" in walk.counterexample.problem


def test_its_request_has_an_example_that_its_first_products_can_serve() -> None:
    """The document's, whose products are there from the first start."""
    operation = NOTIFY.orders.contract.place_operation
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert example == json.loads(BODY)
    assert NOTIFY.orders.stock is not None
    first = {product_id: count for product_id, _, count in NOTIFY.orders.stock.first}
    wanted = http.parse(json.dumps(example).encode()).items
    assert all(first[line.product_id] >= 1 for line in wanted)
