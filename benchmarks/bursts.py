"""Events that stand in an outbox at once: the backlog of a relay or of a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncpg

TOPIC: Final = "order-events"
TYPE: Final = "Measured"
VALUE_BYTES: Final = 450
"""About what OrderCreated of two lines has."""
CHUNK: Final = 1_000
_BEFORE, _BEHIND = '{"text":"', '"}'
_APPEND: Final = f"""
SELECT count(appended) FROM generate_series(1, $1::integer) AS chunk, LATERAL (
    SELECT messaging.outbox_append(
        array_agg((crc32(key::bytea) % 16)::integer), array_agg(id), array_agg(key),
        array_agg(payload), NULL, NULL, NULL, NULL, NULL,
        ARRAY['{TOPIC}'], ARRAY['{TYPE}'], ARRAY[1], ARRAY['Order'], ARRAY['order-service'],
        ARRAY[clock_timestamp()]
    ) FROM (
        SELECT uuidv7() AS id, gen_random_uuid()::text AS key,
               convert_to(
                   rpad('{_BEFORE}', {VALUE_BYTES - len(_BEHIND)}, 'x') || '{_BEHIND}', 'UTF8'
               ) AS payload
        FROM generate_series(1, {CHUNK}) WHERE chunk > 0
    ) AS message
) AS appended
"""  # noqa: S608 - constants


async def append(sql: asyncpg.Connection, events: int) -> None:
    """So many, a multiple of a thousand, in one transaction."""
    await sql.fetchval(_APPEND, events // CHUNK)
