"""The audit of a platform whose outboxes a relay carries to a log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.operations.audit.filled import execute

from waybill.operations.audit import AuditOptions, audit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.operations.audit.filled import Filled

    from waybill.operations.audit import Report

SERVICES = ("order", "inventory", "payment", "notification")
ALL_SENT = (
    "UPDATE messaging.outbox_meta SET mode = 'relay'",
    """UPDATE messaging.outbox_lane AS l SET position = coalesce((
           SELECT max(seq) FROM messaging.outbox AS o WHERE o.lane = l.lane), 0)""",
    # Of the time before: no outbox of a log is read by position.
    "UPDATE messaging.consumer_source SET positions = array_fill(0, ARRAY[17])",
)
ONE_LANE = "(SELECT lane FROM messaging.outbox WHERE type = 'StockReserved' ORDER BY seq LIMIT 1)"
UNSENT = f"UPDATE messaging.outbox_lane SET position = 0 WHERE lane = {ONE_LANE}"  # noqa: S608 - constants
LOST = "DELETE FROM messaging.inbox WHERE message_id = '{id}'"
FIRST = "SELECT id::text FROM messaging.outbox WHERE type = 'StockReserved' ORDER BY seq LIMIT 1"
HELD = """
INSERT INTO messaging.outbox_held (
    lane, seq, id, aggregatetype, aggregateid, type, payload, version, topic, correlation_id,
    producer, headers, occurred_at, created_at, state, reason
)
SELECT lane, seq, id, aggregatetype, aggregateid, type, payload, version, topic, correlation_id,
       producer, headers, occurred_at, created_at, 'HELD', 'too large'
FROM messaging.outbox WHERE type = 'StockReserved' ORDER BY seq LIMIT 1
"""


@pytest.fixture
def urls(filled: Filled) -> Iterator[dict[str, str]]:
    """Copies of the filled databases, as if a relay had sent everything."""
    with filled.copies(SERVICES) as copies:
        for service in SERVICES:
            asyncio.run(execute(copies[service], ALL_SENT))
        yield copies


def looked_at(urls: dict[str, str]) -> Report:
    """The audit, which does not wait long for what does not move."""
    return asyncio.run(audit(urls, AuditOptions(settle_seconds=3, still_seconds=0.5)))


def test_what_was_sent_and_taken_is_clean(urls: dict[str, str]) -> None:
    """P12: inboxes say what was taken; positions of the time before say nothing."""
    report = looked_at(urls)
    assert report.exit_status == 0, report.told()


def test_i15_what_is_not_sent_is_named(urls: dict[str, str]) -> None:
    """I15: nothing may be left in an outbox once all is quiet."""
    asyncio.run(execute(urls["inventory"], [UNSENT]))
    report = looked_at(urls)
    assert not report.quiescent
    assert "I15" in {rule.id for rule in report.violated}


def test_i22_what_nobody_took_is_named(urls: dict[str, str]) -> None:
    """I22: it was sent, and one of its readers knows nothing of it."""
    lost = asyncio.run(first(urls["inventory"]))
    asyncio.run(execute(urls["payment"], [LOST.replace("{id}", lost)]))
    report = looked_at(urls)
    (rule,) = [each for each in report.violated if each.id == "I22"]
    assert [each.row["message_id"] for each in rule.rows] == [lost]


def test_l4_a_held_record_waits_for_an_operator(urls: dict[str, str]) -> None:
    """Protocol L4: it is listed as waiting, and nobody must have taken it."""
    lost = asyncio.run(first(urls["inventory"]))
    asyncio.run(execute(urls["inventory"], [HELD]))
    asyncio.run(execute(urls["payment"], [LOST.replace("{id}", lost)]))
    report = looked_at(urls)
    assert report.waiting["held records of inventory-service"] == 1
    assert "I22" not in {rule.id for rule in report.violated}


async def first(url: str) -> str:
    """The first reservation that was told."""
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval(FIRST))
    finally:
        await connection.close()
