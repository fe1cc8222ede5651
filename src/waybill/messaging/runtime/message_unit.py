"""The unit of work as a per-message handler sees it: whatever it publishes names its cause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.ports import Row
    from waybill.messaging.core.unit import UnitOfWork


class MessageUnit:
    """Effects, inbox row and published messages commit together, after the handler returned."""

    def __init__(self, unit: UnitOfWork, message: Message) -> None:
        self.message = message
        """The message that is being handled, with its envelope."""
        self._unit = unit

    @property
    def now(self) -> datetime:
        """The instant of this unit, UTC."""
        return self._unit.now

    @property
    def session(self) -> Any:  # noqa: ANN401 - an AsyncSession where SQLAlchemy is in use
        """The SQLAlchemy AsyncSession of this unit. Raises ConfigurationError without an engine."""
        session = getattr(self._unit.transaction, "session", None)
        if session is None:
            raise ConfigurationError(
                "this unit has no SQLAlchemy session: give the MessagingService an `engine`, or "
                "use `execute` and `fetch`"
            )
        return session

    async def execute(self, statement: str, *arguments: object) -> int:
        """Run one statement in this unit (`$1, $2, …`); the number of rows it touched."""
        return await self._unit.execute(statement, *arguments)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Run one statement in this unit; its rows."""
        return await self._unit.fetch(statement, *arguments)

    def on_commit(self, call: Callable[[], None]) -> None:
        """See Transaction.on_commit."""
        self._unit.on_commit(call)

    def publish(
        self, event: object, *, key: str, headers: Mapping[str, bytes] | None = None
    ) -> Message:
        """Append `event`, caused by this unit's message, to the outbox of this unit."""
        return self._unit.publish(event, key=key, cause=self.message, headers=headers)
