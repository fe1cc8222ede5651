"""The documented states of seed 001's outbox follow what readers, relay and operators do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.commerce.support import KEYBOARD, Service, created

from waybill.messaging.adapters.mysql import relay_held as mysql
from waybill.messaging.adapters.postgres import relay_held as postgres
from waybill.messaging.core.relay import HeldState, ToHold

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Transaction

STATUS = "SELECT status FROM reservation.outbox"
LANES = 17
POSITION = "UPDATE messaging.outbox_lane SET position = $1"


class UndoneError(Exception):
    """Ends a transaction: the next test finds the outbox's mode as it was."""


async def test_a_row_is_new_then_an_error_while_it_is_held_then_sent(order: Service) -> None:
    """R100, R123, R124: the view's NEW, ERROR and SENT, on the way to Kafka."""
    tables = order.stores.orders.tables
    event = created((KEYBOARD, 1))
    async with order.unit() as unit:
        order.ports.unit(unit.transaction).publish(event, key=str(event.order_id))
    ((lane, seq),) = await order.rows("SELECT lane, seq FROM messaging.outbox")
    held = ToHold(lane, seq, HeldState.HELD, "too large")

    async def status(transaction: Transaction) -> str:
        (row,) = await transaction.fetch(tables(STATUS))
        return str(row["status"])

    with pytest.raises(UndoneError):
        async with order.database.transaction() as transaction:
            await transaction.execute(tables("UPDATE messaging.outbox_meta SET mode = 'relay'"))
            await transaction.execute(tables(POSITION), seq - 1)
            assert await status(transaction) == "NEW", "the relay has not come to it"
            await (mysql if order.is_mysql else postgres).hold(transaction, [held])
            await transaction.execute(tables(POSITION), seq)
            assert await status(transaction) == "ERROR", "the relay has passed and holds it"
            await transaction.execute(tables("DELETE FROM messaging.outbox_held"))
            assert await status(transaction) == "SENT", "an operator had it sent"
            raise UndoneError


async def test_a_row_is_new_until_its_readers_have_it(order: Service) -> None:
    """R100: without Kafka, SENT is what each consumer of the topic has reported."""
    tables = order.stores.orders.tables
    event = created((KEYBOARD, 1))
    async with order.unit() as unit:
        order.ports.unit(unit.transaction).publish(event, key=str(event.order_id))
    ((seq, topic),) = await order.rows("SELECT seq, topic FROM messaging.outbox")

    def stored(values: list[Any]) -> object:
        return json.dumps(values) if order.is_mysql else values

    reader = (
        "INSERT INTO messaging.outbox_reader (consumer, topics, start, positions)"
        " VALUES ('c', $1, $2, $2)"
    )
    report = "UPDATE messaging.outbox_reader SET positions = $1"
    async with order.database.transaction() as transaction:
        await transaction.execute(tables(reader), stored([topic]), stored([0] * LANES))
    assert await order.rows(STATUS) == [("NEW",)]
    async with order.database.transaction() as transaction:
        await transaction.execute(tables(report), stored([seq] * LANES))
    assert await order.rows(STATUS) == [("SENT",)]
