"""Held records: what the log refused, and what came later under the same key (protocol L4).

They are copies, so that the position can pass them and retention is not held back. Only the owner
of the lane takes one out, in the order of their seq; an operator's word is a wish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from waybill.messaging.core.argument_table import Table
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.outbox_row import to_record
from waybill.messaging.core.relay import HeldInfo, HeldRecord, HeldState, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from waybill.messaging.core.ports import Database, Row, Transaction
    from waybill.messaging.core.relay import ToHold

_COPIED = (
    "lane, seq, id, aggregatetype, aggregateid, type, payload, version, aggregate_version, topic, "
    "correlation_id, causation_id, traceparent, producer, headers, occurred_at, created_at"
)
_FROM_OUTBOX = ", ".join(f"o.{name}" for name in _COPIED.split(", "))
# A record that is held already keeps its state and its verdict: a rewind reads it once more.
_HOLD = f"""
INSERT INTO messaging_outbox_held ({_COPIED}, state, reason)
SELECT {_FROM_OUTBOX}, n.held_state, n.held_reason
FROM ($1) AS n STRAIGHT_JOIN messaging_outbox AS o ON o.lane = n.held_lane AND o.seq = n.held_seq
ON DUPLICATE KEY UPDATE messaging_outbox_held.lane = messaging_outbox_held.lane
"""  # noqa: S608 - constants
_KEYS = """
SELECT DISTINCT lane, aggregateid FROM messaging_outbox_held
WHERE state <> 'SKIPPED' AND lane IN ($1)
"""
# An operator has spoken, or what the key waited for is gone: an owner died amid its records.
_FREE = """
SELECT h.lane, h.aggregateid FROM messaging_outbox_held AS h JOIN (
    SELECT lane, min(seq) AS first_seq, max(verdict IS NOT NULL) AS judged
    FROM messaging_outbox_held WHERE state <> 'SKIPPED' AND lane IN ($1)
    GROUP BY lane, aggregateid
) AS g ON g.lane = h.lane AND g.first_seq = h.seq
WHERE g.judged OR h.state = 'BEHIND'
"""
_COUNT = "SELECT count(*) FROM messaging_outbox_held WHERE state = 'HELD'"
# The columns of core.outbox_row, in its order.
_WAITING = """
SELECT state, verdict, lane, seq, id, topic, type, aggregateid, version, aggregatetype,
       aggregate_version, correlation_id, causation_id, traceparent, producer, occurred_at,
       headers, payload
FROM messaging_outbox_held
WHERE lane = $1 AND aggregateid = $2 AND state <> 'SKIPPED' ORDER BY seq LIMIT $3
"""
_SENT = "DELETE FROM messaging_outbox_held WHERE lane = $1 AND seq IN ($2)"
_SKIPPED = "UPDATE messaging_outbox_held SET state = 'SKIPPED' WHERE lane = $1 AND seq IN ($2)"
_REFUSED = """
UPDATE messaging_outbox_held SET state = 'HELD', reason = $3, verdict = NULL
WHERE lane = $1 AND seq = $2
"""
_LIST = """
SELECT lane, seq, id, topic, type, aggregateid AS `key`, octet_length(payload) AS bytes, state,
       reason, held_at, verdict, verdict_by, verdict_reason
FROM messaging_outbox_held WHERE state <> 'SKIPPED' OR $1 ORDER BY lane, seq LIMIT $2
"""
_KNOWN = "SELECT id, state FROM messaging_outbox_held WHERE id IN ($1) ORDER BY id FOR UPDATE"
_JUDGE = """
UPDATE messaging_outbox_held
SET verdict = $2, verdict_by = $3, verdict_reason = $4, verdict_at = NOW(6) WHERE id IN ($1)
"""


async def hold(transaction: Transaction, held: Sequence[ToHold]) -> None:
    """Copy these rows of the outbox, in the transaction that moves the position over them."""
    if held:
        rows = [(each.lane, each.seq, each.state.value, each.reason) for each in held]
        names = "held_lane, held_seq, held_state, held_reason"
        await transaction.execute(_HOLD, Table(names, rows))


async def keys(database: Database, lanes: Collection[int]) -> dict[int, set[str]]:
    """Keys with held records, by lane."""
    found: dict[int, set[str]] = {lane: set() for lane in lanes}
    for row in await database.fetch(_KEYS, sorted(lanes)):
        found[row[0]].add(row[1])
    return found


async def free_keys(transaction: Transaction, lanes: Sequence[int]) -> tuple[tuple[int, str], ...]:
    """(lane, key) that may have something to send or to let go."""
    return tuple((row[0], row[1]) for row in await transaction.fetch(_FREE, lanes))


async def count(transaction: Transaction | Database) -> int:
    """How many records the log refused."""
    (row,) = await transaction.fetch(_COUNT)
    return int(row[0])


async def waiting(
    database: Database, source: str, lane: int, key: str, limit: int
) -> list[HeldRecord]:
    """Those of a key, in seq order."""
    rows = await database.fetch(_WAITING, lane, key, limit)
    return [_held(source, row) for row in rows]


def _held(source: str, row: Row) -> HeldRecord:
    state, verdict, *columns = cast("Iterable[Any]", row)  # rows iterate
    return HeldRecord(
        to_record(source, columns),
        HeldState(state),
        None if verdict is None else Verdict(verdict),
    )


async def settle(
    transaction: Transaction,
    lane: int,
    *,
    sent: Sequence[int],
    skipped: Sequence[int],
    refused: ToHold | None,
) -> None:
    """See RelayStore.settle, under the lane's lock."""
    await transaction.execute(_SENT, lane, list(sent))
    await transaction.execute(_SKIPPED, lane, list(skipped))
    if refused is not None:
        await transaction.execute(_REFUSED, lane, refused.seq, refused.reason)


async def list_held(
    database: Database, *, limit: int = 100, with_skipped: bool = False
) -> list[HeldInfo]:
    """Held records by lane and seq, as the service role."""
    rows = await database.fetch(_LIST, with_skipped, limit)
    fields = [name for name in HeldInfo.__struct_fields__ if name != "id"]
    return [
        HeldInfo(id=UUID(bytes=row["id"]), **{field: row[field] for field in fields})
        for row in rows
    ]


async def judge_held(
    database: Database, ids: Sequence[UUID], verdict: Verdict, *, who: str, why: str
) -> set[UUID]:
    """Leave a word for the owner of the lane; the ids it was left for.

    Raises ConfigurationError for RESUME on a record that only waits behind another one.
    """
    async with database.transaction() as transaction:
        rows = await transaction.fetch(_KNOWN, sorted(ids))
        states = {UUID(bytes=row["id"]): row["state"] for row in rows}
        behind = sorted(str(id_) for id_, state in states.items() if state == HeldState.BEHIND)
        if verdict is Verdict.RESUME and behind:
            raise ConfigurationError(
                f"{', '.join(behind)}: only waits behind an earlier record of its key; resume or "
                "skip that one (state HELD), and this one follows by itself"
            )
        judged = {id_ for id_, state in states.items() if state != "SKIPPED"}
        await transaction.execute(_JUDGE, sorted(judged), verdict.value, who, why)
    return judged
