"""Rows of an outbox as records. Whatever a row holds, it becomes a record (never an error).

A row whose columns make no sense becomes one whose value no codec can read, so that it ends as a
dead letter and the messages after it go on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from waybill.messaging.core.message import Message, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VALUE_BYTES_MAX = 16 * 1024 * 1024
"""A larger value is not shipped to a reader: its record becomes a dead letter."""

BATCH_BYTES_MAX = 8 * 1024 * 1024
"""Values of one fetch together, but for the last: memory is bounded whatever the messages are."""

UNREADABLE = b"\xff\xff unreadable outbox row: "
"""Neither JSON nor UTF-8 nor Protobuf begins like this."""

UNREADABLE_HEADER = "waybill-unreadable"
ORIGINAL_VALUE_HEADER = "waybill-original-value"
ORIGINAL_HEADERS_HEADER = "waybill-original-headers"

# Value and headers travel only for the topics that the reader wants (protocol D2), and values only
# until they fill a batch; the row that does so is the last one. A timestamp outside Python's years
# would make the driver raise for ever. `place` makes the planner use the order that unnest already
# has: what is left to sort is one lane's rows, never a backlog.
_PAGE = """
SELECT lane, seq, id, topic, type, aggregateid, version, aggregatetype, aggregate_version,
       correlation_id, causation_id, traceparent, producer,
       CASE WHEN occurred_at >= '0001-01-02Z' AND occurred_at < '9999-12-31Z'
            THEN occurred_at END AS occurred_at,
       CASE WHEN is_wanted THEN headers END AS headers,
       CASE WHEN shipped IS NOT NULL THEN payload END AS payload
FROM (
    SELECT *, sum(shipped) OVER (
        ORDER BY place, seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS shipped_before
    FROM (
        SELECT o.*, p.place, {wanted} AS is_wanted,
               CASE WHEN {wanted} AND octet_length(o.payload) <= $5::integer
                    THEN octet_length(o.payload) END AS shipped
        FROM unnest($1::smallint[], $2::bigint[]) WITH ORDINALITY AS p (lane, position, place)
        CROSS JOIN LATERAL (
            SELECT * FROM messaging.outbox AS r
            WHERE r.lane = p.lane AND r.seq > p.position
            ORDER BY r.seq LIMIT $4
        ) AS o
        ORDER BY p.place, o.seq LIMIT $4
    ) AS page
) AS measured
WHERE coalesce(shipped_before, 0) < $6::bigint
"""
FETCH = _PAGE.format(wanted="o.topic = ANY($3::text[])")

PAGE = _PAGE.format(wanted="$3::boolean")
"""For a relay, which wants every topic (and passes true)."""

_HEADERS = msgspec.json.Decoder(dict[str, bytes])
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def encode_headers(headers: Mapping[str, bytes]) -> str:
    """Headers as the outbox and the dead letters store them: JSON, bytes as base64."""
    return msgspec.json.encode(headers).decode() if headers else "{}"


def decode_headers(text: str) -> dict[str, bytes]:
    """The reverse. Raises msgspec.DecodeError (a ValueError)."""
    return {} if text == "{}" else _HEADERS.decode(text)


def to_record(source: str, row: Iterable[Any]) -> Record:
    """The record of one row of FETCH."""
    (
        lane, seq, id_, topic, type_, key, version, aggregate_type, aggregate_version,
        correlation_id, causation_id, traceparent, producer, occurred_at, headers, value,
    ) = row  # fmt: skip
    try:
        decoded = decode_headers(headers)
    except (ValueError, TypeError):
        decoded = None
    if decoded is None or value is None or occurred_at is None:
        decoded, value = _unreadable(occurred_at, headers, decoded, value)
    message = Message(
        id=id_,
        topic=topic,
        type=type_,
        key=key,
        value=value,
        occurred_at=occurred_at or _NO_TIME,
        version=version,
        aggregate_type=aggregate_type,
        aggregate_version=aggregate_version,
        correlation_id=correlation_id,
        causation_id=causation_id,
        traceparent=traceparent,
        producer=producer,
        headers=decoded,
    )
    return Record(source, lane, seq, message)


def _unreadable(
    occurred_at: datetime | None,
    headers: str | None,
    decoded: dict[str, bytes] | None,
    value: bytes | None,
) -> tuple[dict[str, bytes], bytes]:
    """Headers that keep what there was, and a value that says what is wrong."""
    wrong = [
        what
        for what, is_wrong in (
            ("occurred_at", occurred_at is None),
            ("headers", decoded is None),
            ("payload (missing or too large)", value is None),
        )
        if is_wrong
    ]
    reason = ", ".join(wrong).encode()
    kept = decoded or {ORIGINAL_HEADERS_HEADER: str(headers).encode(errors="replace")}
    return (
        {**kept, UNREADABLE_HEADER: reason, ORIGINAL_VALUE_HEADER: value or b""},
        UNREADABLE + reason,
    )
