"""What the services' revisions share on MariaDB and MySQL: types, grants, the documented views.

A documented view shows ids as text, as the documents do; the tables keep 16 bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import op

if TYPE_CHECKING:
    from collections.abc import Iterable

INSTANT = "datetime(6)"
JSON = "longtext"
"""Text that is kept byte by byte: MySQL's own JSON would write numbers anew."""

COLLATION = "$the_columns_own"
"""Stands in statements for the collation that compares byte by byte on this server."""


def text_id(column: str) -> str:
    """The usual text of a 16-byte id."""
    text = f"lower(hex({column}))"
    for place in (9, 14, 19, 24):
        text = f"insert({text}, {place}, 0, '-')"
    return text


def bytes_id(text: str) -> str:
    """The 16 bytes of an id's usual text."""
    return f"unhex(replace({text}, '-', ''))"


def json_text(document: str, path: str) -> str:
    """A text out of JSON, which compares as our columns do. `path` is SQL."""
    return f"json_unquote(json_extract({document}, {path})) COLLATE {COLLATION}"


def instant(text: str) -> str:
    """A time that JSON holds as RFC 3339 in UTC."""
    return f"CAST(replace(replace({text}, 'T', ' '), 'Z', '') AS {INSTANT})"


# Positions are a JSON array, element = lane. Derived: every reader of the topic has reported a
# position at or past the row; on Kafka the relay has passed it, and does not hold it.
_PUBLISHED = """
CASE WHEN (SELECT m.mode = 'direct' FROM messaging_outbox_meta AS m) THEN NOT EXISTS (
    SELECT 1 FROM messaging_outbox_reader AS r
    WHERE json_contains(r.topics, json_quote(o.topic))
      AND json_extract(r.positions, concat('$[', o.lane, ']')) + 0 < o.seq
) ELSE EXISTS (
    SELECT 1 FROM messaging_outbox_lane AS l WHERE l.lane = o.lane AND l.position >= o.seq
) AND NOT EXISTS (
    SELECT 1 FROM messaging_outbox_held AS h WHERE h.lane = o.lane AND h.seq = o.seq
) END
"""
_EVENT = f"""
{text_id("o.id")} AS id, {{type}}(o.aggregatetype) AS aggregate_type,
o.aggregateid AS aggregate_id, o.type AS {{name}}, CONVERT(o.payload USING utf8mb4) AS payload
"""

OUTBOX_EVENTS = f"""
CREATE OR REPLACE VIEW outbox_events AS
SELECT {_EVENT.format(type="", name="event_type")}, o.created_at, {_PUBLISHED} AS published
FROM messaging_outbox AS o WHERE o.lane < 16
"""  # noqa: S608 - constants

# NEW: not everybody has it yet; SENT: they have; ERROR: the relay cannot send it and holds it.
OUTBOX_OF_SEED_001 = f"""
CREATE OR REPLACE VIEW reservation_outbox AS
SELECT {_EVENT.format(type="upper", name="type")}, o.headers, CASE WHEN EXISTS (
           SELECT 1 FROM messaging_outbox_held AS h WHERE h.lane = o.lane AND h.seq = o.seq
       ) THEN 'ERROR' WHEN {_PUBLISHED} THEN 'SENT' ELSE 'NEW' END AS status, o.created_at
FROM messaging_outbox AS o WHERE o.lane < 16
"""  # noqa: S608 - constants

PROCESSED_EVENTS = f"""
CREATE OR REPLACE VIEW processed_events AS
SELECT {text_id("message_id")} AS event_id, processed_at FROM messaging_inbox
"""  # noqa: S608 - a constant


def run(statements: Iterable[str]) -> None:
    """Execute one by one; each table gets the collation that compares byte by byte."""
    attributes = op.get_context().config.attributes  # type: ignore[union-attr] # given
    ending = f"ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE={COLLATION} ROW_FORMAT=DYNAMIC"
    for statement in statements:
        is_table = statement.split(None, 2)[:2] == ["CREATE", "TABLE"]
        # The driver would take a % for a place of its own.
        text = f"{statement} {ending}" if is_table else statement
        text = text.replace(COLLATION, attributes["collation"])
        op.get_bind().exec_driver_sql(text.replace("%", "%%"))


def grant(*, changing: Iterable[str], appending: Iterable[str] = ()) -> None:
    """Give the run-time role what it writes: no DELETE, no DDL, `appending` never changes."""
    role = op.get_context().config.attributes["service_role"]  # type: ignore[union-attr] # given
    if role is None:
        return
    run(
        [
            *(f"GRANT INSERT, UPDATE ON {table} TO '{role}'@'%'" for table in changing),
            *(f"GRANT INSERT ON {table} TO '{role}'@'%'" for table in appending),
        ]
    )
