"""Pages of an outbox's rows above positions, lane by lane, for readers and relays.

Two statements, since no one should carry the values of all lanes to sort them: the first finds
which rows fill the page, the second brings them. What was read once never changes in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from waybill.messaging.core.outbox_row import BATCH_BYTES_MAX, VALUE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Row


class Fetching(Protocol):
    """A Database, or a session of this adapter."""

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Run one statement; its rows."""


# `place` is the lane's in the order that was asked for. The primary key has the rows in order.
_HEADS = """
(SELECT {place} AS place, lane, seq, topic, octet_length(payload) AS size FROM messaging_outbox
 WHERE lane = {lane} AND seq > {position} ORDER BY seq LIMIT {limit})
"""
# Value and headers travel only for the topics that the reader wants (protocol D2). The columns of
# core.outbox_row, in its order.
_ROWS = """
(SELECT lane, seq, id, topic, type, aggregateid, version, aggregatetype, aggregate_version,
        correlation_id, causation_id, traceparent, producer, occurred_at,
        IF({wanted}, headers, NULL) AS headers,
        IF({wanted} AND octet_length(payload) <= {size}, payload, NULL) AS payload
 FROM messaging_outbox WHERE lane = {lane} AND seq > {position} AND seq <= {last})
"""


async def page(
    connection: Fetching,
    lanes: Sequence[int],
    positions: Sequence[int],
    topics: Sequence[str] | None,
    limit: int,
) -> Sequence[Row]:
    """Rows above the positions: lanes in the given order, at most `limit` in all.

    Fewer than there are, if their values reach BATCH_BYTES_MAX. No topics: every one is wanted.
    """
    heads = " UNION ALL ".join(
        _HEADS.format(place=place, lane=int(lane), position=int(position), limit=int(limit))
        for place, (lane, position) in enumerate(zip(lanes, positions, strict=True))
    )
    found = await connection.fetch(f"{heads} ORDER BY place, seq LIMIT {int(limit)}")
    lasts = _lasts(found, topics)
    if not lasts:
        return []
    wanted = "true" if topics is None else "topic IN ($1)"
    started = dict(zip(lanes, positions, strict=True))
    rows = " UNION ALL ".join(
        _ROWS.format(
            lane=int(lane),
            position=int(started[lane]),
            last=last,
            wanted=wanted,
            size=VALUE_BYTES_MAX,
        )
        for lane, last in lasts.items()
    )
    place_of = {lane: place for place, lane in enumerate(lanes)}
    fetched = await connection.fetch(rows, *([] if topics is None else [list(topics)]))
    return sorted(fetched, key=lambda row: (place_of[row[0]], row[1]))


def _lasts(found: Sequence[Row], topics: Sequence[str] | None) -> dict[int, int]:
    """How far the page goes in each lane: values are shipped until they fill it."""
    lasts: dict[int, int] = {}
    shipped = 0
    for row in found:
        if shipped >= BATCH_BYTES_MAX:
            break
        lasts[row["lane"]] = row["seq"]
        if (topics is None or row["topic"] in topics) and row["size"] <= VALUE_BYTES_MAX:
            shipped += row["size"]
    return lasts
