"""The relay's half of an outbox on MariaDB and MySQL: leases, positions, pages (protocol L1-L4).

Each write that moves a position is guarded by the lane's token and by the position itself, so a
member that was taken over can change nothing, however late it wakes up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from waybill.messaging.adapters.mysql import relay_held
from waybill.messaging.adapters.mysql.literals import seconds
from waybill.messaging.adapters.mysql.relay_mode import attach
from waybill.messaging.core.argument_table import Table
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.core.outbox_row import to_record
from waybill.messaging.core.relay import Share, part_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from waybill.messaging.adapters.mysql.source import MysqlSource
    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import Database, Transaction
    from waybill.messaging.core.relay import HeldRecord, ToHold

GONE_SECONDS = 60
"""A member whose lease ended so long ago is forgotten."""

_MEMBER = """
INSERT INTO messaging_outbox_relay (token, name, lease_until)
VALUES ($1, $2, NOW(6) + INTERVAL $3 SECOND)
ON DUPLICATE KEY UPDATE lease_until = NOW(6) + INTERVAL $3 SECOND
"""
_FORGET = "DELETE FROM messaging_outbox_relay WHERE lease_until < NOW(6) - INTERVAL $1 SECOND"
_MEMBERS = """
SELECT token FROM messaging_outbox_relay WHERE lease_until > NOW(6) ORDER BY started_at, token
"""
# Rows are locked in the order of their lanes everywhere, or two statements of one member could
# wait for each other.
_OWN = """
SELECT lane, position FROM messaging_outbox_lane FORCE INDEX (PRIMARY)
WHERE lane IN ($1) AND token = $2 ORDER BY lane FOR UPDATE
"""
_FREE = """
SELECT lane, position FROM messaging_outbox_lane FORCE INDEX (PRIMARY)
WHERE token IS NULL OR lease_until <= NOW(6) ORDER BY lane LIMIT $1 FOR UPDATE SKIP LOCKED
"""
_LEASE = """
UPDATE messaging_outbox_lane SET token = $2, lease_until = NOW(6) + INTERVAL $3 SECOND
WHERE lane IN ($1)
"""
_GIVE_BACK = """
UPDATE messaging_outbox_lane SET token = NULL, lease_until = NULL
WHERE token = $1 AND lane IN ($2)
"""
_LEAVE = "DELETE FROM messaging_outbox_relay WHERE token = $1"
_ADVANCE = """
UPDATE messaging_outbox_lane AS l JOIN ($1) AS n ON n.lane = l.lane
SET l.position = n.position, l.moved_at = NOW(6)
"""


class MysqlRelayStore:
    """See core.relay.RelayStore.

    `source` is a connection of its own to the same database, so that a page never waits for the
    pool; `name` is the service's.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        source: MysqlSource,
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
        rewind, mode = self._rewind_seconds, self._mode
        await attach(self._database, self._name, log, rewind_seconds=rewind, mode=mode)

    async def share(self, token: UUID, name: str, lease_seconds: float) -> Share:
        """See RelayStore. One member alone has every lane; of three, two have six and one five."""
        lease = seconds(lease_seconds)
        async with self._database.transaction() as transaction:
            await transaction.execute(_MEMBER, token, name, lease)
            await transaction.execute(_FORGET, GONE_SECONDS)
            members = [UUID(bytes=row[0]) for row in await transaction.fetch(_MEMBERS)]
            part = part_of(members.index(token), len(members)) if token in members else 0
            own = await _own(transaction, token, range(ALL_LANES))
            taken: dict[int, int] = {}
            if len(own) < part:
                free = await transaction.fetch(_FREE, part - len(own))
                taken = {row["lane"]: row["position"] for row in free}
            positions = own | taken
            if positions:
                await transaction.execute(_LEASE, sorted(positions), token, lease)
            free_keys = await relay_held.free_keys(transaction, list(positions))
            held = await relay_held.count(transaction)
        return Share(
            positions=positions,
            taken=frozenset(taken),
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
        if not positions:
            return []
        if not self._source.connected:
            await self._source.connect()
        rows = await self._source.page(list(positions), list(positions.values()), limit)
        return [to_record(self._name, row) for row in rows]  # type: ignore[arg-type]  # rows iterate

    async def advance(
        self, token: UUID, positions: Mapping[int, int], held: Sequence[ToHold]
    ) -> set[int]:
        """See RelayStore."""
        if not positions:
            return set()
        async with self._database.transaction() as transaction:
            own = await _own(transaction, token, positions)
            moved = {lane: positions[lane] for lane, now in own.items() if now < positions[lane]}
            if moved:
                await transaction.execute(_ADVANCE, Table("lane, position", moved.items()))
            await relay_held.hold(transaction, [each for each in held if each.lane in moved])
        return set(moved)

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
            if not await _own(transaction, token, [lane]):
                return False
            await relay_held.settle(transaction, lane, sent=sent, skipped=skipped, refused=refused)
        return True

    async def close(self) -> None:
        """Close the connection for pages."""
        await self._source.close()


async def _own(transaction: Transaction, token: UUID, lanes: Collection[int]) -> dict[int, int]:
    """The positions of those that the token holds, locked."""
    rows = await transaction.fetch(_OWN, sorted(lanes), token)
    return {row["lane"]: row["position"] for row in rows}
