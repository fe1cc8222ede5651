"""The inbox on PostgreSQL: a message's effects happen once a consumer, however often it comes.

The claim stands in the transaction of the effects: both commit, or neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.core.ports import Database, Transaction

IDS = "unnest($2::uuid[]) WITH ORDINALITY AS claimed (id, place)"


def claim_from(ids: str) -> str:
    """The statement that claims these rows (`claimed.id`, `claimed.place`) for consumer `$1`.

    Protocol C1, C3, C5: sorted, open and discarded verdicts passed over. `= ANY` and not a join: a
    generic plan made on an empty table would scan all dead letters at every batch.
    """
    return f"""
    INSERT INTO messaging.inbox (consumer, message_id)
    SELECT $1, claimed.id FROM {ids}
    WHERE claimed.id <> ALL (ARRAY(
        SELECT letter.message_id FROM messaging.dead_letters AS letter
        WHERE letter.consumer = $1 AND letter.message_id = ANY ($2::uuid[])
          AND letter.verdict IN ('OPEN', 'DISCARDED')
    ))
    ORDER BY place
    ON CONFLICT DO NOTHING
    RETURNING message_id
    """  # noqa: S608 - constants


CLAIM = claim_from(IDS)
# Of CTEs `fence` (holds) and `claimed`: what was claimed; and an error, unless all of `$2` was.
CLAIMED = "SELECT fence.holds, ARRAY(SELECT message_id FROM claimed) AS claimed FROM fence"
REQUIRE = """
SELECT messaging.require_claim(
    fence.holds AND (SELECT count(*) FROM claimed) = cardinality($2::uuid[])
) FROM fence
"""

# Protocol D5: a row stays while a source may still hold the message that it stands for. A minute
# for the source's clock, and for rows whose times are not quite in the order of their numbers.
PURGE = """
DELETE FROM messaging.inbox WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM messaging.inbox
    WHERE processed_at < least(
        coalesce($3, clock_timestamp()) - make_interval(secs => $1),
        (SELECT min(coalesce(horizon_at, '-infinity')) - interval '1 minute'
         FROM messaging.consumer_source WHERE $4)
    )
    LIMIT $2
))
"""

PURGE_PAGE_ROWS = 5_000


class PostgresInbox:
    """See core.ports.Inbox. Speaks to the Transaction port only."""

    async def claim(
        self, transaction: Transaction, consumer: str, message_ids: Sequence[UUID]
    ) -> set[UUID]:
        """See Inbox.claim."""
        if not message_ids:
            return set()
        rows = await transaction.fetch(CLAIM, consumer, sorted(message_ids))
        return {row[0] for row in rows}


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
    age that a source's horizon has not passed yet; not `sources_hold`: on a log, where sources that
    were read before are read no more, and the topics' retention is shorter.
    """
    total = 0
    while True:
        async with database.transaction() as transaction:
            deleted = await transaction.execute(
                PURGE, float(older_than_seconds), page_rows, now, sources_hold
            )
        total += deleted
        if deleted < page_rows:
            return total
