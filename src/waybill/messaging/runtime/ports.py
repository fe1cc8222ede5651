"""What the loops of one service share: its ports, its name, its sources of time and chance."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import SystemRandom
from typing import TYPE_CHECKING

from waybill.messaging.core.identity import new_id
from waybill.messaging.core.unit import UnitOfWork
from waybill.messaging.runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from waybill.messaging.core.codec import Codec
    from waybill.messaging.core.ports import (
        Database,
        DeadLetters,
        Inbox,
        Observer,
        Outbox,
        Transaction,
    )
    from waybill.messaging.runtime.clock import Clock


class SilentObserver:
    """An `Observer` that forgets everything."""

    def published(self, topic: str, count: int) -> None:
        """See Observer."""

    def processed(self, consumer: str, result: str, count: int, seconds: float) -> None:
        """See Observer."""

    def dead_lettered(self, consumer: str, topic: str, error_type: str) -> None:
        """See Observer."""

    def retried(self, consumer: str, reason: str) -> None:
        """See Observer."""

    def attempted(self, kind: str, outcome: str, seconds: float) -> None:
        """See Observer."""

    def progressed(self, loop: str) -> None:
        """See Observer."""


@dataclass(frozen=True, kw_only=True)
class ServicePorts:
    """Everything that a loop of one service needs from outside."""

    database: Database
    outbox: Outbox
    inbox: Inbox
    dead_letters: DeadLetters
    codec: Codec
    producer: str
    observer: Observer = field(default_factory=SilentObserver)
    clock: Clock = field(default_factory=SystemClock)
    random: Callable[[], float] = SystemRandom().random
    new_id: Callable[[], UUID] = new_id

    def unit(self, transaction: Transaction) -> UnitOfWork:
        """A unit of work on an open transaction, for a handler."""
        return UnitOfWork(
            transaction,
            outbox=self.outbox,
            codec=self.codec,
            producer=self.producer,
            new_id=self.new_id,
            now=self.clock.now(),
        )
