"""What services ask of the runtime for outside calls: to owe them with the state they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from waybill.messaging.core.ports import Delivery
    from waybill.messaging.core.unit import UnitOfWork


class Calls(Protocol):
    """The deliverer of one kind of outside call, as a handler sees it."""

    async def owe(self, unit: UnitOfWork, deliveries: Sequence[Delivery]) -> None:
        """Store them in this unit, leased to this process, which calls after the commit.

        A (kind, key) that exists already is left as it is.
        """
