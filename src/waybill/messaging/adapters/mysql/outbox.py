"""The outbox on MariaDB and MySQL: an append-only log, written with the state (protocol O1-O5).

When a row is visible, no lower number of its lane can still appear:

1. The flush locks the rows of the lanes that it writes to, in ascending order, before it draws a
   number; nobody else draws one for these lanes until this transaction has ended.
2. A number is drawn by AUTO_INCREMENT when its row is inserted, so under those locks; it only ever
   goes up, whatever rolls back (one server, not several writers: server.py refuses those).
3. InnoDB makes a transaction visible before it lets its locks go. So whoever locks a lane next
   draws higher numbers than all that a reader can see of it, and lower ones are committed or gone.
4. A reader takes a new snapshot for each page: sessions are READ COMMITTED, and it reads outside
   transactions. One that reads up to a number has therefore seen all below it.

Protocol O5 keeps the counter in the lane's row; AUTO_INCREMENT gives one order over all lanes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from waybill.messaging.adapters.mysql.parts import parts, row_bytes
from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import PermanentError
from waybill.messaging.core.message import Appended
from waybill.messaging.core.outbox_limits import (
    MESSAGE_BYTES_MAX,
    check_size,
    is_small,
    lane_of_message,
)
from waybill.messaging.core.outbox_row import encode_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.ports import Transaction

_LOCK = "SELECT lane FROM messaging_outbox_lock WHERE lane IN ($1) ORDER BY lane FOR UPDATE"
_INSERT = """
INSERT INTO messaging_outbox (
    lane, id, aggregatetype, aggregateid, type, payload, version, aggregate_version, topic,
    correlation_id, causation_id, traceparent, producer, headers, occurred_at
) VALUES $1
"""
# A new statement under the lock: its snapshot has all that the last owner of the lane committed.
_BEFORE = """
SELECT l.lane, LAST_INSERT_ID() AS first_seq, (
    SELECT max(o.seq) FROM messaging_outbox AS o
    WHERE o.lane = l.lane AND o.seq < LAST_INSERT_ID()
) AS before_seq
FROM messaging_outbox_lock AS l WHERE l.lane IN ($1)
"""
_FIRST = "SELECT LAST_INSERT_ID()"


class Published(Protocol):
    """The part of Observer that an outbox reports to."""

    def published(self, topic: str, count: int) -> None:
        """See Observer.published."""


class MysqlOutbox:
    """See core.ports.Outbox. Speaks to the Transaction port only.

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
        if crash_points.hook is not None:
            await crash_points.hook("outbox.before_append", messages[0].producer)
        try:
            lanes = [lane_of_message(message) for message in messages]
        except UnicodeEncodeError as error:
            reason = f"a key is not text: {error}"
            raise PermanentError(reason) from error
        await transaction.fetch(_LOCK, sorted(set(lanes)))
        appended = await self._insert(transaction, messages, lanes)
        if crash_points.hook is not None:
            await crash_points.hook("outbox.after_append", messages[0].producer)
        if self._doorbell is not None:
            doorbell = self._doorbell
            transaction.on_commit(lambda: doorbell(appended))
        if self._observer is not None:
            observer, counts = self._observer, Counter(m.topic for m in messages)
            transaction.on_commit(lambda: _report(observer, counts))

    async def _insert(
        self, transaction: Transaction, messages: Sequence[Message], lanes: Sequence[int]
    ) -> list[Appended]:
        """Number and store them; where each went, if anybody wants to hear it."""
        appended: list[Appended] = []
        last: dict[int, int] | None = None
        for start, stop in parts([row_bytes(message) for message in messages]):
            part = list(zip(messages[start:stop], lanes[start:stop], strict=True))
            await transaction.execute(_INSERT, [_row(message, lane) for message, lane in part])
            if self._doorbell is None:
                continue
            if last is None:
                befores = await transaction.fetch(_BEFORE, sorted(set(lanes)))
                first = befores[0]["first_seq"]
                last = {row["lane"]: row["before_seq"] or 0 for row in befores}
            else:
                first = (await transaction.fetch(_FIRST))[0][0]
            # One INSERT of so many rows gets numbers without a gap, whatever the lock mode is.
            for seq, (message, lane) in enumerate(part, start=first):
                appended.append(Appended(lane, last[lane], seq, message))
                last[lane] = seq
        return appended


def _row(message: Message, lane: int) -> tuple[object, ...]:
    return (
        lane, message.id, message.aggregate_type, message.key, message.type, message.value,
        message.version, message.aggregate_version, message.topic, message.correlation_id,
        message.causation_id, message.traceparent, message.producer,
        encode_headers(message.headers), message.occurred_at,
    )  # fmt: skip


def _report(observer: Published, counts: Counter[str]) -> None:
    for topic, count in counts.items():
        observer.published(topic, count)
