"""A reader says at an outbox how far it is, and hears how the outbox stands (protocol D3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.arrays import encoded, numbers, optional_numbers
from waybill.messaging.core.lanes import ALL_LANES
from waybill.messaging.reading.standing import Registration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.adapters.mysql.server import Fetching, Server

# Retention takes the meta row for itself: registering and removing exclude each other (O6).
_META = """
SELECT horizon, horizon_at FROM messaging_outbox_meta LOCK IN SHARE MODE
"""
_READER = "SELECT start, positions FROM messaging_outbox_reader WHERE consumer = $1 FOR UPDATE"
_REGISTER = """
INSERT INTO messaging_outbox_reader (consumer, topics, start, positions) VALUES ($1, $2, $3, $4)
ON DUPLICATE KEY UPDATE topics = $2, start = $3, positions = $4, seen_at = NOW(6)
"""
_LAST = "SELECT max(seq) FROM messaging_outbox"


async def register(
    transaction: Fetching,
    server: Server,
    consumer: str,
    topics: Sequence[str],
    *,
    positions: Sequence[int] | None,
    start: Sequence[int] | None,
) -> Registration:
    """See reading.ports.Source.register. Inside one transaction, as the reader role."""
    (meta,) = await transaction.fetch(_META)
    was = await transaction.fetch(_READER, consumer)
    known = optional_numbers(was[0]["positions"]) if was else None
    wanted = tuple(positions or known or (meta["horizon"] - 1,) * ALL_LANES)
    first = start or (numbers(was[0]["start"]) if was else wanted)
    row = consumer, encoded(sorted(topics)), encoded(first), encoded(wanted)
    await transaction.fetch(_REGISTER, *row)
    last = (await transaction.fetch(_LAST))[0][0] or 0
    return Registration(
        known=bool(was),
        horizon=meta["horizon"],
        horizon_at=meta["horizon_at"],
        last_seq=max(last, meta["horizon"] - 1),
        system_identifier=server.identifier,
        timeline=0,
        start=tuple(first),
        positions=wanted,
    )
