"""What all the services' revisions share: grants, and the documented views of messaging tables.

The views are read-only by their owner's rights; the rows below them are never updated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import op

if TYPE_CHECKING:
    from collections.abc import Iterable

JSON_OR_NULL = """
CREATE FUNCTION app.json_or_null(value bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN convert_from(value, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$
"""

UUID_OR_NULL = """
CREATE FUNCTION app.uuid_or_null(value text) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN value ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
           THEN value::uuid END
$$
"""

OUTBOX_EVENTS = """
CREATE OR REPLACE VIEW public.outbox_events AS
SELECT o.id, o.aggregatetype::varchar(128) AS aggregate_type,
       app.uuid_or_null(o.aggregateid) AS aggregate_id, o.type::varchar(128) AS event_type,
       app.json_or_null(o.payload) AS payload, o.created_at,
       CASE WHEN (SELECT m.mode = 'direct' FROM messaging.outbox_meta m) THEN NOT EXISTS (
           SELECT FROM messaging.outbox_reader r
           WHERE o.topic = ANY (r.topics) AND coalesce(r.positions[o.lane + 1], 0) < o.seq
       ) ELSE EXISTS (
           SELECT FROM messaging.outbox_lane l WHERE l.lane = o.lane AND l.position >= o.seq
       ) AND NOT EXISTS (
           SELECT FROM messaging.outbox_held h WHERE h.lane = o.lane AND h.seq = o.seq
       ) END AS published
FROM messaging.outbox o
WHERE o.lane < 16
"""
"""`published` is derived: every reader of the topic has reported a position at or past the row.

On Kafka: the relay has passed it, and does not hold it.
"""

# NEW: not everybody has it yet; SENT: they have; ERROR: the relay cannot send it and holds it.
OUTBOX_OF_SEED_001 = """
CREATE VIEW reservation.outbox AS
SELECT o.id, upper(o.aggregatetype) AS aggregate_type, o.aggregateid AS aggregate_id, o.type,
       app.json_or_null(o.payload) AS payload, o.headers,
       CASE WHEN EXISTS (
           SELECT FROM messaging.outbox_held h WHERE h.lane = o.lane AND h.seq = o.seq
       ) THEN 'ERROR' WHEN e.published THEN 'SENT' ELSE 'NEW' END AS status, o.created_at
FROM messaging.outbox o JOIN public.outbox_events e ON e.id = o.id
WHERE o.lane < 16
"""
"""When a row was sent is not kept: rows of an outbox are never updated (C16)."""

PROCESSED_EVENTS = """
CREATE VIEW public.processed_events AS
SELECT message_id AS event_id, processed_at FROM messaging.inbox
"""


def run(statements: Iterable[str]) -> None:
    """Execute one by one: the driver prepares each, so none may hold two."""
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


def grant(*, changing: Iterable[str], appending: Iterable[str] = ()) -> None:
    """Give the run-time role what it writes: no DELETE, no DDL, `appending` never changes."""
    config = op.get_context().config
    role = config.attributes["service_role"] if config else None
    if role is None:
        return
    run(
        [
            f"GRANT USAGE ON SCHEMA app, public TO {role}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA app, public TO {role}",
            *(f"GRANT INSERT, UPDATE ON app.{table} TO {role}" for table in changing),
            *(f"GRANT INSERT ON app.{table} TO {role}" for table in appending),
        ]
    )


def grant_documents(schema: str) -> None:
    """Let the run-time role see the documented views of a blueprint."""
    config = op.get_context().config
    role = config.attributes["service_role"] if config else None
    if role is not None:
        run(
            [
                f"GRANT USAGE ON SCHEMA {schema} TO {role}",
                f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
            ]
        )


def restrict(table: str, columns: Iterable[str]) -> None:
    """Of this table the run-time role may update these columns only."""
    config = op.get_context().config
    role = config.attributes["service_role"] if config else None
    if role is None:
        return
    run(
        [
            f"REVOKE UPDATE ON app.{table} FROM {role}",
            f"GRANT UPDATE ({', '.join(columns)}) ON app.{table} TO {role}",
        ]
    )
