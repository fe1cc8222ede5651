"""Held records: what the log refused, and what came later under the same key (protocol L4).

They are copies, so that the position can pass them and retention is not held back. Only the owner
of the lane takes one out, in the order of their seq; an operator's word is a wish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.outbox_row import to_record
from waybill.messaging.core.relay import HeldInfo, HeldRecord, HeldState, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Row, Transaction
    from waybill.messaging.core.relay import ToHold

_COPIED = (
    "lane, seq, id, aggregatetype, aggregateid, type, payload, version, aggregate_version, topic, "
    "correlation_id, causation_id, traceparent, producer, headers, occurred_at, created_at"
)
# A record that is held already keeps its state and its verdict: a rewind reads it once more.
_HOLD = f"""
INSERT INTO messaging.outbox_held ({_COPIED}, state, reason)
SELECT {_COPIED}, n.state, n.reason
FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[]) AS n (lane, seq, state, reason)
JOIN messaging.outbox AS o USING (lane, seq)
ON CONFLICT (lane, seq) DO NOTHING
"""  # noqa: S608 - constants
_KEYS = """
SELECT lane, aggregateid FROM messaging.outbox_held
WHERE state <> 'SKIPPED' AND lane = ANY($1::smallint[]) GROUP BY lane, aggregateid
"""
# An operator has spoken, or what the key waited for is gone: an owner died amid its records.
_FREE = """
SELECT lane, aggregateid FROM messaging.outbox_held
WHERE state <> 'SKIPPED' AND lane = ANY($1::smallint[])
GROUP BY lane, aggregateid
HAVING bool_or(verdict IS NOT NULL) OR (array_agg(state ORDER BY seq))[1] = 'BEHIND'
"""
_COUNT = "SELECT count(*) FROM messaging.outbox_held WHERE state = 'HELD'"
# The columns of outbox_rows.FETCH, in its order. The index has the beginnings of keys.
_WAITING = """
SELECT state, verdict, lane, seq, id, topic, type, aggregateid, version, aggregatetype,
       aggregate_version, correlation_id, causation_id, traceparent, producer, occurred_at,
       headers, payload
FROM messaging.outbox_held
WHERE lane = $1 AND left(aggregateid, 190) = left($2::text, 190) AND aggregateid = $2
  AND state <> 'SKIPPED' ORDER BY seq LIMIT $3
"""
_OWN = "SELECT FROM messaging.outbox_lane WHERE lane = $1 AND token = $2 FOR UPDATE"
_SENT = "DELETE FROM messaging.outbox_held WHERE lane = $1 AND seq = ANY($2::bigint[])"
_SKIPPED = """
UPDATE messaging.outbox_held SET state = 'SKIPPED' WHERE lane = $1 AND seq = ANY($2::bigint[])
"""
_REFUSED = """
UPDATE messaging.outbox_held SET state = 'HELD', reason = $3, verdict = NULL
WHERE lane = $1 AND seq = $2
"""
_LIST = """
SELECT lane, seq, id, topic, type, aggregateid AS key, octet_length(payload) AS bytes, state,
       reason, held_at, verdict, verdict_by, verdict_reason
FROM messaging.outbox_held WHERE state <> 'SKIPPED' OR $1 ORDER BY lane, seq LIMIT $2
"""
_JUDGE = """
UPDATE messaging.outbox_held
SET verdict = $2, verdict_by = $3, verdict_reason = $4, verdict_at = clock_timestamp()
WHERE id = ANY($1::uuid[]) AND state <> 'SKIPPED' AND ($2 = 'SKIP' OR state = 'HELD')
RETURNING id
"""
_KNOWN = "SELECT id, state FROM messaging.outbox_held WHERE id = ANY($1::uuid[])"


async def hold(transaction: Transaction, held: Sequence[ToHold]) -> None:
    """Copy these rows of the outbox, in the transaction that moves the position over them."""
    await transaction.execute(
        _HOLD,
        [each.lane for each in held],
        [each.seq for each in held],
        [each.state.value for each in held],
        [each.reason for each in held],
    )


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
    state, verdict, *columns = cast("Iterable[Any]", row)  # asyncpg's rows iterate
    return HeldRecord(
        to_record(source, columns),
        HeldState(state),
        None if verdict is None else Verdict(verdict),
    )


async def settle(
    transaction: Transaction,
    token: UUID,
    lane: int,
    *,
    sent: Sequence[int],
    skipped: Sequence[int],
    refused: ToHold | None,
) -> bool:
    """See RelayStore.settle."""
    if not await transaction.fetch(_OWN, lane, token):
        return False
    await transaction.execute(_SENT, lane, list(sent))
    await transaction.execute(_SKIPPED, lane, list(skipped))
    if refused is not None:
        await transaction.execute(_REFUSED, lane, refused.seq, refused.reason)
    return True


async def list_held(
    database: Database, *, limit: int = 100, with_skipped: bool = False
) -> list[HeldInfo]:
    """Held records by lane and seq, as the service role."""
    rows = await database.fetch(_LIST, with_skipped, limit)
    fields = HeldInfo.__struct_fields__
    return [HeldInfo(**{field: row[field] for field in fields}) for row in rows]


async def judge_held(
    database: Database, ids: Sequence[UUID], verdict: Verdict, *, who: str, why: str
) -> set[UUID]:
    """Leave a word for the owner of the lane; the ids it was left for.

    Raises ConfigurationError for RESUME on a record that only waits behind another one.
    """
    rows = await database.fetch(_KNOWN, list(ids))
    behind = sorted(str(row["id"]) for row in rows if row["state"] == HeldState.BEHIND)
    if verdict is Verdict.RESUME and behind:
        raise ConfigurationError(
            f"{', '.join(behind)}: only waits behind an earlier record of its key; resume or skip "
            "that one (state HELD), and this one follows by itself"
        )
    judged = await database.fetch(_JUDGE, list(ids), verdict.value, who, why)
    return {row["id"] for row in judged}
