"""SQL of sagas: each is one row with its steps, made when an order is first heard of.

A row is made before it is locked, so that of two first facts about an order, in two processes, the
second waits for the first one's commit and finds what it left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from waybill.commerce.columns import column
from waybill.commerce.orchestrator.domain import Saga
from waybill.commerce.process import Progress
from waybill.commerce.timeline import as_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.commerce.contracts import OrderCreated
    from waybill.commerce.process import Process
    from waybill.commerce.timeline import StoredEntry, TimelineEntry
    from waybill.messaging.core.ports import Row, Transaction

_encode = msgspec.json.Encoder(decimal_format="number").encode

COLUMNS = """
    order_id, status, facts, reason, detail, asked, payment_id, version, step_count, ask_at, asks,
    settled_at, created_at, updated_at, correlation_id
"""

_MAKE = """
INSERT INTO app.sagas (order_id, status, created_at, updated_at)
SELECT id, $2, $3, $3 FROM unnest($1::uuid[]) AS u (id) ORDER BY id
ON CONFLICT (order_id) DO NOTHING
"""

# All that decides stands in the row, and FOR UPDATE returns its newest version (protocol C2).
_LOCK = f"""
SELECT {COLUMNS} FROM app.sagas WHERE order_id = ANY($1) ORDER BY order_id FOR UPDATE
"""  # noqa: S608 - a constant

_LOCK_DUE = f"""
SELECT {COLUMNS} FROM app.sagas WHERE settled_at IS NULL AND ask_at <= $1
ORDER BY ask_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant

_SAVE = """
UPDATE app.sagas s
SET status = u.status, facts = string_to_array(u.facts, ','), reason = u.reason,
    detail = u.detail, asked = coalesce(s.asked, u.asked::jsonb), payment_id = u.payment_id,
    version = u.version, step_count = u.step_count, ask_at = u.ask_at, asks = u.asks,
    settled_at = u.settled_at, updated_at = u.updated_at, steps = s.steps || u.steps::jsonb,
    correlation_id = u.correlation_id
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[],
            $8::bigint[], $9::int[], $10::timestamptz[], $11::int[], $12::timestamptz[],
            $13::timestamptz[], $14::text[], $15::text[])
    AS u (order_id, status, facts, reason, detail, asked, payment_id, version, step_count, ask_at,
          asks, settled_at, updated_at, steps, correlation_id)
WHERE s.order_id = u.order_id AND s.order_id = ANY($1::uuid[])
"""


class Sagas:
    """The sagas of one process; `order` is the type that its orders are kept as."""

    def __init__(self, process: Process, order: type[OrderCreated]) -> None:
        self._initial = process.initial
        self._order: msgspec.json.Decoder[Any] = msgspec.json.Decoder(order)

    async def lock(
        self, transaction: Transaction, order_ids: Iterable[UUID], now: datetime
    ) -> dict[UUID, Saga]:
        """The sagas of these orders, locked until the transaction ends; new ones are made."""
        ids = sorted(order_ids)
        await transaction.execute(_MAKE, ids, self._initial, now)
        rows = await transaction.fetch(_LOCK, ids)
        return {row["order_id"]: self._saga(row) for row in rows}

    async def lock_due(self, transaction: Transaction, now: datetime, limit: int) -> list[Saga]:
        """At most `limit` unsettled sagas whose next question is due, skipping locked ones."""
        return [self._saga(row) for row in await transaction.fetch(_LOCK_DUE, now, limit)]

    async def save(
        self, transaction: Transaction, sagas: Sequence[Saga], steps: Sequence[TimelineEntry]
    ) -> None:
        """Write locked sagas, and append to their steps."""
        new: dict[UUID, list[StoredEntry]] = {saga.order_id: [] for saga in sagas}
        for each in steps:
            new[each.order_id].append(as_stored(each))
        await transaction.fetch_later(
            _SAVE,
            [saga.order_id for saga in sagas],
            [saga.progress.status for saga in sagas],
            [",".join(sorted(saga.progress.facts)) for saga in sagas],
            column(saga.progress.reason for saga in sagas),
            column(saga.progress.detail for saga in sagas),
            column(saga.asked and _encode(saga.asked).decode() for saga in sagas),
            column(saga.payment_id for saga in sagas),
            [saga.version for saga in sagas],
            [saga.steps for saga in sagas],
            column(saga.ask_at for saga in sagas),
            [saga.asks for saga in sagas],
            column(saga.settled_at for saga in sagas),
            [saga.updated_at for saga in sagas],
            [_encode(new[saga.order_id]).decode() for saga in sagas],
            column(saga.correlation_id for saga in sagas),
        )

    def _saga(self, row: Row) -> Saga:
        asked = row["asked"]
        return Saga(
            order_id=row["order_id"],
            progress=Progress(row["status"], frozenset(row["facts"]), row["reason"], row["detail"]),
            asked=None if asked is None else self._order.decode(asked),
            payment_id=row["payment_id"],
            version=row["version"],
            steps=row["step_count"],
            ask_at=row["ask_at"],
            asks=row["asks"],
            settled_at=row["settled_at"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            correlation_id=row["correlation_id"],
        )
