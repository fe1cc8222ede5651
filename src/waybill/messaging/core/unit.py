"""The unit of work that a handler gets: an open transaction and the outbox, no way to end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import msgspec

from waybill.messaging.core.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.core.codec import Codec
    from waybill.messaging.core.ports import Outbox, Row, Transaction


class Received(msgspec.Struct, frozen=True):
    """A message with its event decoded, as a handler gets it."""

    message: Message
    event: object


class UnitOfWork:
    """Effects, inbox row, positions and published messages of one batch commit together.

    Committing, rolling back or closing it here would leave half an effect behind an inbox row,
    so those raise (protocol O7). Raise an exception to roll the unit back.
    """

    def __init__(
        self,
        transaction: Transaction,
        *,
        outbox: Outbox,
        codec: Codec,
        producer: str,
        new_id: Callable[[], UUID],
        now: datetime,
    ) -> None:
        self.transaction = transaction
        self.now = now
        """The instant of this unit, UTC: one for all its effects."""
        self._outbox = outbox
        self._codec = codec
        self._producer = producer
        self._new_id = new_id

    async def execute(self, statement: str, *arguments: object) -> int:
        """Run one statement in this unit; the number of rows it touched."""
        return await self.transaction.execute(statement, *arguments)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Run one statement in this unit; its rows."""
        return await self.transaction.fetch(statement, *arguments)

    def on_commit(self, call: Callable[[], None]) -> None:
        """See Transaction.on_commit."""
        self.transaction.on_commit(call)

    def publish(
        self,
        event: object,
        *,
        key: str,
        cause: Message | None = None,
        correlation_id: str | None = None,
        causation_id: UUID | None = None,
        traceparent: str | None = None,
        aggregate_type: str = "",
        aggregate_version: int | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> Message:
        """Append `event` to the outbox of this unit; it becomes visible with the commit.

        `cause` is the message that led to it: it gives causation id, correlation id and trace;
        without one (a settled delivery, a deadline) they can be given one by one.
        """
        envelope = Message(
            id=self._new_id(),
            topic=self._codec.topic(event),
            type=self._codec.type_name(event),
            version=self._codec.version(event),
            key=key,
            value=b"",
            occurred_at=self.now,
            aggregate_type=aggregate_type,
            aggregate_version=aggregate_version,
            correlation_id=correlation_id or (cause.correlation_id if cause else key),
            causation_id=causation_id or (cause.id if cause else None),
            traceparent=traceparent or (cause.traceparent if cause else None),
            producer=self._producer,
            headers=dict(headers or {}),
        )
        # Nobody else has seen it yet, and a second one would cost a microsecond a message.
        msgspec.structs.force_setattr(envelope, "value", self._codec.encode(event, envelope))
        self._outbox.append(self.transaction, (envelope,))
        return envelope

    def commit(self) -> NoReturn:
        """Always raises: the runtime ends the unit."""
        _refuse("commit")

    def rollback(self) -> NoReturn:
        """Always raises: raise an exception to roll the unit back."""
        _refuse("rollback")

    def close(self) -> NoReturn:
        """Always raises: the runtime ends the unit."""
        _refuse("close")


def _refuse(act: str) -> NoReturn:
    message = f"a handler cannot {act} its unit of work; raise an exception to roll it back"
    raise RuntimeError(message)
