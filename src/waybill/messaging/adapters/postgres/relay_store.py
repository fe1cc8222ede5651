"""The relay's half of an outbox on PostgreSQL: leases, positions, pages (protocol L1-L4).

Each write that moves a position is guarded by the lane's token and by the position itself, so a
member that was taken over can change nothing, however late it wakes up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.postgres import relay_held
from waybill.messaging.adapters.postgres.relay_mode import attach
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.outbox_row import to_record
from waybill.messaging.core.relay import Share, part_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from waybill.messaging.adapters.postgres.source import OutboxSource
    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import Database, Row
    from waybill.messaging.core.relay import HeldRecord, ToHold

GONE_SECONDS = 60.0
"""A member whose lease ended so long ago is forgotten."""

# A renewal or a position that a power cut takes back costs duplicates, which inboxes remove: they
# do not wait for the disk.
_HURRY = "SELECT set_config('synchronous_commit', 'off', true)"
_MEMBER = """
INSERT INTO messaging.outbox_relay AS r (token, name, lease_until)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (token) DO UPDATE SET lease_until = excluded.lease_until
"""
_FORGET = """
DELETE FROM messaging.outbox_relay
WHERE lease_until < clock_timestamp() - make_interval(secs => $1)
"""
_MEMBERS = """
SELECT token FROM messaging.outbox_relay WHERE lease_until > clock_timestamp()
ORDER BY started_at, token
"""
# Rows are locked in the order of their lanes everywhere, or two statements of one member could
# wait for each other.
_RENEW = """
WITH own AS (
    SELECT lane FROM messaging.outbox_lane WHERE token = $1 ORDER BY lane FOR UPDATE
)
UPDATE messaging.outbox_lane AS l
SET lease_until = clock_timestamp() + make_interval(secs => $2)
FROM own WHERE l.lane = own.lane RETURNING l.lane, l.position
"""
_TAKE = """
WITH free AS (
    SELECT lane FROM messaging.outbox_lane
    WHERE token IS NULL OR lease_until <= clock_timestamp()
    ORDER BY lane LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE messaging.outbox_lane AS l
SET token = $1, lease_until = clock_timestamp() + make_interval(secs => $2)
FROM free WHERE l.lane = free.lane RETURNING l.lane, l.position
"""
_GIVE_BACK = """
UPDATE messaging.outbox_lane SET token = NULL, lease_until = NULL
WHERE token = $1 AND lane = ANY($2::smallint[])
"""
_LEAVE = "DELETE FROM messaging.outbox_relay WHERE token = $1"
# What is held with the position must not be lost: a later position would pass it (protocol L4).
_ADVANCE = """
WITH hurry AS (
    SELECT CASE WHEN $4 THEN set_config('synchronous_commit', 'off', true) END
), own AS (
    SELECT l.lane, n.position
    FROM hurry, unnest($2::smallint[], $3::bigint[]) AS n (lane, position)
    JOIN messaging.outbox_lane AS l ON l.lane = n.lane
    WHERE l.token = $1 AND l.position < n.position
    ORDER BY l.lane FOR UPDATE OF l
)
UPDATE messaging.outbox_lane AS l
SET position = own.position, moved_at = clock_timestamp()
FROM own WHERE l.lane = own.lane RETURNING l.lane
"""


class PostgresRelayStore:
    """See core.relay.RelayStore.

    `source` is a connection of its own to the same database, so that a page never waits for the
    pool; `name` is the service's.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        source: OutboxSource,
        *,
        rewind_seconds: float,
        mode: str = "relay",
    ) -> None:
        self._name = name
        self._database = database
        self._source = source
        self._rewind_seconds = rewind_seconds
        self._mode = mode

    async def attach(self, log: str) -> None:
        """See RelayStore."""
        seconds, mode = self._rewind_seconds, self._mode
        await attach(self._database, self._name, log, rewind_seconds=seconds, mode=mode)

    async def share(self, token: UUID, name: str, lease_seconds: float) -> Share:
        """See RelayStore. One member alone has every lane; of three, two have six and one five."""
        async with self._database.transaction() as transaction:
            await transaction.fetch(_HURRY)
            await transaction.execute(_MEMBER, token, name, lease_seconds)
            await transaction.execute(_FORGET, GONE_SECONDS)
            members = [row[0] for row in await transaction.fetch(_MEMBERS)]
            rows = list(await transaction.fetch(_RENEW, token, lease_seconds))
            taken: Sequence[Row] = ()
            part = part_of(members.index(token), len(members)) if token in members else 0
            if len(rows) < part:
                free = part - len(rows)
                taken = await transaction.fetch(_TAKE, token, lease_seconds, free)
            positions = {row[0]: row[1] for row in (*rows, *taken)}
            free_keys = await relay_held.free_keys(transaction, list(positions))
            held = await relay_held.count(transaction)
        return Share(
            positions=positions,
            taken=frozenset(row[0] for row in taken),
            surplus=max(0, len(positions) - part),
            members=len(members),
            held=held,
            free_keys=free_keys,
        )

    async def give_back(self, token: UUID, lanes: Collection[int]) -> None:
        """See RelayStore."""
        await self._database.fetch(_GIVE_BACK, token, sorted(lanes))

    async def leave(self, token: UUID) -> None:
        """See RelayStore."""
        async with self._database.transaction() as transaction:
            await transaction.execute(_GIVE_BACK, token, list(range(ALL_LANES)))
            await transaction.execute(_LEAVE, token)

    async def held_keys(self, lanes: Collection[int]) -> Mapping[int, set[str]]:
        """See RelayStore."""
        return await relay_held.keys(self._database, lanes)

    async def read(self, positions: Mapping[int, int], limit: int) -> Sequence[Record]:
        """See RelayStore."""
        if not self._source.connected:
            await self._source.connect()
        rows = await self._source.page(list(positions), list(positions.values()), limit)
        name = self._name
        return [to_record(name, row) for row in rows]  # type: ignore[arg-type]  # rows iterate

    async def advance(
        self, token: UUID, positions: Mapping[int, int], held: Sequence[ToHold]
    ) -> set[int]:
        """See RelayStore."""
        arguments = (token, list(positions), list(positions.values()), not held)
        if not held:
            return {row[0] for row in await self._database.fetch(_ADVANCE, *arguments)}
        async with self._database.transaction() as transaction:
            moved = {row[0] for row in await transaction.fetch(_ADVANCE, *arguments)}
            await relay_held.hold(transaction, [each for each in held if each.lane in moved])
        return moved

    async def held_records(self, lane: int, key: str, limit: int) -> Sequence[HeldRecord]:
        """See RelayStore."""
        return await relay_held.waiting(self._database, self._name, lane, key, limit)

    async def settle(
        self,
        token: UUID,
        lane: int,
        *,
        sent: Sequence[int] = (),
        skipped: Sequence[int] = (),
        refused: ToHold | None = None,
    ) -> bool:
        """See RelayStore."""
        async with self._database.transaction() as transaction:
            return await relay_held.settle(
                transaction, token, lane, sent=sent, skipped=skipped, refused=refused
            )

    async def close(self) -> None:
        """Close the connection for pages."""
        await self._source.close()
