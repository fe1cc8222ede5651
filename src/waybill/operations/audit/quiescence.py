"""Quiescence (protocol A1): nothing is under way, seen before and after the snapshots are taken.

Equal figures alone prove nothing, a backoff looks the same: every kind of pending row must be at
zero. What waits for an operator is no work under way; it is listed as waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError
from waybill.operations.audit import relayed
from waybill.operations.audit.scope import ORCHESTRATOR, ORDER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waybill.operations.audit.scope import Route, Scope
    from waybill.operations.audit.snapshot import Reading

WAITING_MAX = 100_000
"""Keys that may wait for an operator; more than that is no audit's business yet."""
COUNT_MAX = 10_000
"""Unread rows of a lane are counted no further than this."""

# Attempts, due times and leases change with every try, so that a backoff that ends is seen.
_OWN = """
SELECT (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM messaging.outbox_seq) AS seq,
       (SELECT count(*) FROM messaging.deliveries WHERE state = 'PENDING') AS owed,
       (SELECT count(*) FROM messaging.deliveries WHERE state = 'PARKED') AS parked,
       (SELECT coalesce(sum(attempts), 0) FROM messaging.deliveries WHERE state = 'PENDING')
           AS attempts,
       (SELECT max(next_attempt_at) FROM messaging.deliveries WHERE state = 'PENDING') AS due_at,
       (SELECT max(lease_until) FROM messaging.deliveries WHERE state = 'PENDING') AS leased_until,
       (SELECT count(*) FROM messaging.dead_letters WHERE verdict = 'REDRIVE') AS to_redrive,
       (SELECT count(*) FROM messaging.dead_letters WHERE verdict = 'OPEN') AS open
"""
_POSITIONS = """
SELECT consumer, source, positions FROM messaging.consumer_source
WHERE positions IS NOT NULL ORDER BY consumer, source
"""
_REPORTED = "SELECT consumer, positions FROM messaging.outbox_reader ORDER BY consumer"
_UNREAD = f"""
SELECT coalesce(sum(unread.rows), 0)::bigint AS rows
FROM unnest($1::bigint[]) WITH ORDINALITY AS p (position, place)
CROSS JOIN LATERAL (
    SELECT count(*) AS rows FROM (
        SELECT FROM messaging.outbox AS o
        WHERE o.lane = p.place - 1 AND o.seq > p.position AND o.topic = $2
          AND o.type = ANY ($3::text[])
        LIMIT {COUNT_MAX}
    ) AS counted
) AS unread
"""  # noqa: S608 - a constant
# The key of a delivery begins with its order's id.
_WAITING = """
SELECT split_part(key, ':', 1) AS key FROM messaging.deliveries WHERE state = 'PARKED'
UNION SELECT key FROM messaging.dead_letters WHERE verdict = 'OPEN'
LIMIT $1
"""
_UNSETTLED = """
SELECT count(*) AS rows, coalesce(sum(asks), 0) AS asks FROM app.orders
WHERE settled_at IS NULL AND id::text <> ALL ($1::text[])
"""

_UNSETTLED_SAGAS = """
SELECT count(*) AS rows, coalesce(sum(asks), 0) AS asks FROM app.sagas
WHERE settled_at IS NULL AND order_id::text <> ALL ($1::text[])
"""


@dataclass(frozen=True)
class Standing:
    """What is under way, what waits for an operator, and marks that any activity changes."""

    pending: Mapping[str, int]
    waits: Mapping[str, int]
    waiting: frozenset[str]
    reported: Mapping[tuple[str, str], tuple[int, ...]]
    marks: tuple[object, ...]

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way."""
        return not self.pending

    def told(self) -> str:
        """What is under way, for people."""
        return ", ".join(f"{count} {what}" for what, count in self.pending.items())


@dataclass
class _Draft:
    """A standing in the making."""

    pending: dict[str, int] = field(default_factory=dict)
    waits: dict[str, int] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    reported: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    marks: list[object] = field(default_factory=list)
    positions: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    relayed: set[str] = field(default_factory=set)

    def count(self, what: str, rows: int) -> None:
        """So many rows are under way."""
        if rows:
            self.pending[what] = self.pending.get(what, 0) + rows


async def read_standing(
    scope: Scope, readings: Mapping[str, Reading], taken: relayed.Taken | None = None
) -> Standing:
    """One look at every database, each statement at its own instant.

    `taken` is what earlier looks found to be taken from logs; without it all that is kept is gone
    through again.
    """
    draft = _Draft()
    taken = taken or relayed.Taken()
    for database in scope.services:
        await _own(draft, scope, database, readings[database])
    # Positions were read before what lies above them: a row that came in between is counted.
    for route in scope.routes:
        consumer, source = scope.consumer_id(route.consumer), scope.consumer_id(route.source)
        if route.source in draft.relayed:
            unread = await taken.unread(scope, readings, route)
        else:
            unread = await _unread(draft, scope, route, readings[route.source])
        draft.count(f"unread messages of {consumer} in {source}", unread)
    for database, unsettled in ((ORDER, _UNSETTLED), (ORCHESTRATOR, _UNSETTLED_SAGAS)):
        if database in scope.services:
            (row,) = await readings[database].fetch(unsettled, sorted(draft.waiting))
            draft.count("orders that are not settled", row["rows"])
            draft.marks += [row["rows"], row["asks"]]
    draft.marks += [*draft.pending.items()]
    return Standing(
        draft.pending,
        draft.waits,
        frozenset(draft.waiting),
        draft.reported,
        tuple(draft.marks),
    )


async def _unread(draft: _Draft, scope: Scope, route: Route, reading: Reading) -> int:
    place = (scope.consumer_id(route.consumer), scope.consumer_id(route.source))
    positions = draft.positions.get(place, [0] * 17)
    (row,) = await reading.fetch(_UNREAD, positions, route.topic, list(route.types))
    return int(row["rows"])


async def _relay(draft: _Draft, database: str, service: str, reading: Reading) -> None:
    draft.relayed.add(database)
    draft.marks += await relayed.sent(reading)
    draft.count(f"records of {service} that are not sent", await relayed.unsent(reading))
    held = await relayed.held_keys(reading, WAITING_MAX + 1)
    if held:
        draft.waits[f"held records of {service}"] = len(held)
    draft.waiting.update(row["key"] for row in held)


async def _own(draft: _Draft, scope: Scope, database: str, reading: Reading) -> None:
    service = scope.consumer_id(database)
    if await relayed.is_relayed(reading):
        await _relay(draft, database, service, reading)
    for row in await reading.fetch(_REPORTED):
        draft.reported[row["consumer"], service] = tuple(row["positions"])
    for row in await reading.fetch(_POSITIONS):
        draft.positions[row["consumer"], row["source"]] = list(row["positions"])
        draft.marks.append((row["consumer"], row["source"], *row["positions"]))
    (row,) = await reading.fetch(_OWN)
    draft.count(f"deliveries owed by {service}", row["owed"])
    draft.count(f"dead letters of {service} to redrive", row["to_redrive"])
    if row["parked"]:
        draft.waits[f"parked deliveries of {service}"] = row["parked"]
    if row["open"]:
        draft.waits[f"open dead letters of {service}"] = row["open"]
    draft.marks += [row["seq"], row["owed"], row["attempts"], row["due_at"], row["open"]]
    draft.marks += [row["leased_until"], row["parked"]]
    draft.waiting.update(row["key"] for row in await reading.fetch(_WAITING, WAITING_MAX + 1))
    if len(draft.waiting) > WAITING_MAX:
        raise ConfigurationError(
            f"more than {WAITING_MAX} orders wait for an operator: give verdicts first "
            "(waybill dead-letters list, waybill deliveries list)"
        )
