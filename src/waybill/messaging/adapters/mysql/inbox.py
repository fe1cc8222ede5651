"""The inbox on MariaDB and MySQL: a message's effects happen once a consumer.

The claim stands in the transaction of the effects: both commit, or neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from waybill.messaging.adapters.mysql.literals import seconds
from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from waybill.messaging.core.ports import Database, Transaction

# Protocol C5: open and discarded verdicts are passed over, and leave no row.
_JUDGED = """
SELECT message_id FROM messaging_dead_letters
WHERE consumer = $1 AND message_id IN ($2) AND verdict IN ('OPEN', 'DISCARDED')
"""
# Never INSERT IGNORE, which forgives truncation, too (protocol O5). A row that was there counts
# double, so the number of rows says whether all are ours.
_CLAIM = """
INSERT INTO messaging_inbox (consumer, message_id, claim) VALUES $1
ON DUPLICATE KEY UPDATE repeats = repeats + 1
"""
_CLAIMED = """
SELECT message_id FROM messaging_inbox
WHERE consumer = $1 AND message_id IN ($2) AND claim = $3
"""
# Protocol D5: a row stays while a source may still hold the message that it stands for. A minute
# for the source's clock, and for rows whose times are not quite in the order of their numbers.
_KEPT_FROM = """
SELECT min(coalesce(horizon_at, '1000-01-01')) - INTERVAL 1 MINUTE FROM messaging_consumer_source
"""
_PURGE = """
DELETE FROM messaging_inbox
WHERE processed_at < coalesce($1, NOW(6)) - INTERVAL $2 SECOND
  AND ($3 IS NULL OR processed_at < $3)
ORDER BY processed_at LIMIT $4
"""

PURGE_PAGE_ROWS = 5_000


class MysqlInbox:
    """See core.ports.Inbox. Speaks to the Transaction port only."""

    async def claim(
        self, transaction: Transaction, consumer: str, message_ids: Sequence[UUID]
    ) -> set[UUID]:
        """See Inbox.claim."""
        return await claim(transaction, consumer, message_ids)


async def claim(transaction: Transaction, consumer: str, message_ids: Sequence[UUID]) -> set[UUID]:
    """See Inbox.claim. Rows are locked in the order of their ids (protocol C1, C3)."""
    if not message_ids:
        return set()
    judged = {row[0] for row in await transaction.fetch(_JUDGED, consumer, list(message_ids))}
    wanted = [id_ for id_ in sorted(message_ids) if id_.bytes not in judged]
    if not wanted:
        return set()
    mine = new_id()
    count = await transaction.execute(_CLAIM, [(consumer, id_, mine) for id_ in wanted])
    if count == len(wanted):
        return set(wanted)
    rows = await transaction.fetch(_CLAIMED, consumer, wanted, mine)
    return {UUID(bytes=row[0]) for row in rows}


async def purge_inbox(
    database: Database,
    older_than_seconds: float,
    *,
    now: datetime | None = None,
    sources_hold: bool = True,
    page_rows: int = PURGE_PAGE_ROWS,
) -> int:
    """Delete rows beyond the retention, a page a transaction; how many. May be repeated.

    `now` is what their age counts from; not given, it is the database's clock. Keeps rows of any
    age that a source's horizon has not passed yet; not `sources_hold`: on a log, where the topics'
    retention is shorter.
    """
    total = 0
    age = seconds(older_than_seconds)
    while True:
        kept_from = (await database.fetch(_KEPT_FROM))[0][0] if sources_hold else None
        async with database.transaction() as transaction:
            deleted = await transaction.execute(_PURGE, now, age, kept_from, page_rows)
        total += deleted
        if deleted < page_rows:
            return total
