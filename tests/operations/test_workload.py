"""Every blueprint's usual orders: its contract takes them, and their ids and ends are found."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import pytest

from waybill.blueprints.catalogue import BLUEPRINTS
from waybill.commerce.orders.views import OrderView
from waybill.messaging.core.identity import new_id
from waybill.operations.bench.order_rows import OrderRows
from waybill.operations.generator import id_in_answers
from waybill.operations.sent_orders import CUSTOMERS, two_lines

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.blueprints.definition import Blueprint

TABLE = """
CREATE SCHEMA app;
CREATE TABLE app.orders (id uuid PRIMARY KEY, status text, updated_at timestamptz);
"""
ENDED = "INSERT INTO app.orders VALUES ($1::text::uuid, $2, clock_timestamp())"


@pytest.mark.parametrize("blueprint", BLUEPRINTS.values(), ids=list(BLUEPRINTS))
def test_the_answer_to_a_usual_order_has_its_id_where_load_looks(blueprint: Blueprint) -> None:
    """Two products of three units by sixteen customers, and the bare id in the first answer."""
    contents = two_lines(blueprint)
    contract = blueprint.orders.contract
    assert len({content.customer_id for content in contents}) == CUSTOMERS
    for content in contents:
        asked = contract.parse(content.body)
        units: Counter[UUID] = Counter()
        for line in asked.items:
            units[line.product_id] += line.quantity
        assert sorted(units.values()) == [1, 2]
    asked = contract.parse(contents[0].body)
    now = datetime.now(UTC)  # noqa: TID251 - any
    order = OrderView(
        id=new_id(),
        customer_id=asked.customer_id,
        status=blueprint.order_process.initial,
        total_amount=asked.total_amount,
        currency=asked.currency,
        items=asked.items,
        created_at=now,
        updated_at=now,
    )
    answer = msgspec.json.encode(contract.placed(order, asked.particulars))
    assert answer[id_in_answers(blueprint)].decode() == str(order.id)


@pytest.mark.parametrize("blueprint", BLUEPRINTS.values(), ids=list(BLUEPRINTS))
async def test_an_order_is_seen_to_end_in_its_row(
    messaging_database: str, blueprint: Blueprint
) -> None:
    """In the good end with both latencies, in each bad one as cancelled, on its way not at all."""
    process = blueprint.order_process
    connection = await asyncpg.connect(messaging_database)
    try:
        await connection.execute(TABLE)
        async with OrderRows(messaging_database, process=process, look_seconds=0.002) as seen:
            tally = seen.begin()
            began = asyncio.get_running_loop().time()
            for status in (process.initial, *(ending.status for ending in process.endings)):
                order = str(new_id())
                seen.accepted(order.encode(), began)
                await connection.execute(ENDED, order, status)
            async with asyncio.timeout(20):
                while seen.pending > 1:  # noqa: ASYNC110 - rows have no event
                    await asyncio.sleep(0.002)
            looks = seen.looks
            async with asyncio.timeout(20):
                while seen.looks < looks + 2:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.002)
            assert (seen.pending, seen.failure) == (1, None)
        assert tally.cancelled == len(process.endings) - 1
        assert 0 < tally.written[0] <= tally.seen[0]
        assert len(tally.seen) == 1
    finally:
        await connection.close()
