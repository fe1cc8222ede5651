"""Units of work for what no consumer runs: requests over HTTP, the deadline, settled calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from waybill.messaging.core.unit import UnitOfWork

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from waybill.messaging.core.codec import Codec
    from waybill.messaging.core.ports import Outbox, Transaction


@dataclass(frozen=True)
class Units:
    """What every unit of one service has in common. `now` gives UTC."""

    outbox: Outbox
    codec: Codec
    producer: str
    new_id: Callable[[], UUID]
    now: Callable[[], datetime]

    def begin(self, transaction: Transaction) -> UnitOfWork:
        """A unit in this transaction; whoever opened the transaction ends it."""
        return UnitOfWork(
            transaction,
            outbox=self.outbox,
            codec=self.codec,
            producer=self.producer,
            new_id=self.new_id,
            now=self.now(),
        )
