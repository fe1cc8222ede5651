"""How many messages of an outbox wait for their first reader (protocol I5).

A reader that only lags holds retention back and is alarmed (D4); it must not close the intake.
So a row counts while no registered reader has passed it. Without any reader nothing waits. In
relay mode the relay is the reader; what it holds it has passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.adapters.mysql.arrays import numbers
from waybill.messaging.core.argument_table import Table

if TYPE_CHECKING:
    from waybill.messaging.core.ports import Database

_MODE = "SELECT mode FROM messaging_outbox_meta"
_READERS = "SELECT positions FROM messaging_outbox_reader"
_RELAY = "SELECT position FROM messaging_outbox_lane ORDER BY lane"
# One probe a lane. All that is unread lies between the first of these rows and the last number.
_BOUND = """
SELECT coalesce((SELECT max(seq) FROM messaging_outbox) - min((
    SELECT o.seq FROM messaging_outbox AS o
    WHERE o.lane = p.lane AND o.seq > p.position ORDER BY o.seq LIMIT 1
)) + 1, 0) FROM ($1) AS p
"""
_COUNT = """
SELECT count(*) FROM (
    SELECT o.seq FROM ($1) AS p STRAIGHT_JOIN messaging_outbox AS o
        ON o.lane = p.lane AND o.seq > p.position LIMIT $2
) AS counted
"""


async def unread_rows(database: Database, *, count_max: int) -> int:
    """Rows that no reader has passed yet: at most so many, and exactly if it is `count_max`.

    Costs one look into the index a lane, unless there may really be so many; then it counts,
    no further than `count_max`.
    """
    passed = await _passed(database)
    if not passed:
        return 0
    lanes = Table("lane, position", enumerate(passed))
    bound = int((await database.fetch(_BOUND, lanes))[0][0])
    if bound < count_max:
        return bound
    return int((await database.fetch(_COUNT, lanes, count_max))[0][0])


async def _passed(database: Database) -> list[int]:
    """The position of the first reader, per lane; none if there is no reader."""
    if (await database.fetch(_MODE))[0][0] != "direct":
        return [row[0] for row in await database.fetch(_RELAY)]
    readers = [numbers(row[0]) for row in await database.fetch(_READERS)]
    return [max(lane) for lane in zip(*readers, strict=True)]
