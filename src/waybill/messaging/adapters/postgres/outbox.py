"""The outbox on PostgreSQL: an append-only log that is written with the state (protocol O1-O4).

When a row is visible, no lower number of its lane can still appear.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import PermanentError
from waybill.messaging.core.message import Appended
from waybill.messaging.core.outbox_limits import (
    MESSAGE_BYTES_MAX,
    check_size,
    is_small,
    lane_of_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.ports import Row, Transaction

APPEND = (
    "SELECT numbers, locked_lanes, befores FROM messaging.outbox_append("
    "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
)

LANE_BITS = 5
"""`places` of messaging.outbox_append: kind << 5 | lane."""

LANE_MASK = (1 << LANE_BITS) - 1

_encode_headers = msgspec.json.Encoder().encode


class Published(Protocol):
    """The part of Observer that an outbox reports to."""

    def published(self, topic: str, count: int) -> None:
        """See Observer.published."""


class PostgresOutbox:
    """See core.ports.Outbox. Speaks to the Transaction port only, so it joins any adapter's.

    `doorbell` hears after the commit what it put where: readers of this process need not ask.
    """

    def __init__(
        self,
        *,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        doorbell: Callable[[Sequence[Appended]], None] | None = None,
        observer: Published | None = None,
    ) -> None:
        self._message_bytes_max = message_bytes_max
        self._doorbell = doorbell
        self._observer = observer

    def append(self, transaction: Transaction, messages: Iterable[Message]) -> None:
        """See Outbox.append. Too large a message, or key, raises PermanentError (L4)."""
        limit = self._message_bytes_max
        buffered = transaction.buffer(self._flush)
        for message in messages:
            if not is_small(message, limit):
                check_size(message, limit)
            buffered.append(message)

    async def _flush(self, transaction: Transaction, messages: Sequence[Message]) -> None:
        try:
            arguments = columns(messages)
        except UnicodeEncodeError as error:
            reason = f"a key is not text: {error}"
            raise PermanentError(reason) from error
        if crash_points.hook is not None:
            await crash_points.hook("outbox.before_append", messages[0].producer)
        (row,) = await transaction.fetch_last(APPEND, *arguments)
        if crash_points.hook is not None:
            await crash_points.hook("outbox.after_append", messages[0].producer)
        if self._doorbell is not None:
            doorbell, appended = self._doorbell, _appended(messages, arguments[0] or (), row)
            transaction.on_commit(lambda: doorbell(appended))
        if self._observer is not None:
            observer, counts = self._observer, Counter(m.topic for m in messages)
            transaction.on_commit(lambda: _report(observer, counts))


def columns(messages: Sequence[Message]) -> list[list[Any] | None]:
    """The arguments of messaging.outbox_append: what a batch shares once, NULL for empty columns.

    This is the hottest path of a producer: encoding an array costs some 0.3 µs an element.
    """
    kinds: dict[tuple[Any, ...], int] = {}
    places = []
    for m in messages:
        kind = (m.topic, m.type, m.version, m.aggregate_type, m.producer, m.occurred_at)
        place = kinds.setdefault(kind, len(kinds) << LANE_BITS)
        places.append(place | lane_of_message(m))
    return [
        places,
        [m.id for m in messages],
        [m.key for m in messages],
        [m.value for m in messages],
        _or_null([m.aggregate_version for m in messages]),
        _or_null([None if m.correlation_id == m.key else m.correlation_id for m in messages]),
        _or_null([m.causation_id for m in messages]),
        _or_null([m.traceparent for m in messages]),
        _or_null([_encode_headers(m.headers).decode() if m.headers else None for m in messages]),
        *(list(column) for column in zip(*kinds, strict=True)),
    ]


def _appended(messages: Sequence[Message], places: Sequence[int], row: Row) -> list[Appended]:
    """Where the messages went: each behind the one before it in its lane."""
    last = dict(zip(row["locked_lanes"], row["befores"], strict=True))
    appended = []
    for message, place, seq in zip(messages, places, row["numbers"], strict=True):
        lane = place & LANE_MASK
        appended.append(Appended(lane, last[lane], seq, message))
        last[lane] = seq
    return appended


def _or_null(column: list[Any]) -> list[Any] | None:
    return column if any(value is not None for value in column) else None


def _report(observer: Published, counts: Counter[str]) -> None:
    for topic, count in counts.items():
        observer.published(topic, count)
