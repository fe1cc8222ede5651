"""An intake that may refuse what is new: a replay is answered first, a refusal leaves no key (P5).

So a retry of an order that was accepted gets its first answer, whatever is refused since.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from waybill.commerce.orders.intake import OrderFlush

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from waybill.commerce.orders.intake import Draft
    from waybill.commerce.orders.request import NotTaken
    from waybill.commerce.orders.store import Key, KeyRecord
    from waybill.messaging.core.ports import Transaction
    from waybill.messaging.core.unit import UnitOfWork


class RefusingFlush(OrderFlush, ABC):
    """An OrderFlush whose new orders are judged before they are stored, in their transaction."""

    @abstractmethod
    async def refused(self, unit: UnitOfWork, new: Sequence[Draft]) -> Mapping[UUID, NotTaken]:
        """Which of these orders are not stored, by id, and what their requests are told."""

    async def _store(
        self, transaction: Transaction, drafts: Mapping[Key, Draft]
    ) -> Mapping[Key, KeyRecord | NotTaken]:
        records: dict[Key, KeyRecord | NotTaken] = {
            **await self.orders.read_keys(transaction, list(drafts))
        }
        new = {key: draft for key, draft in drafts.items() if key not in records}
        if not new:
            return records
        refused = await self.refused(self._ports.unit(transaction), list(new.values()))
        for key, draft in new.items():
            if draft.order.id in refused:
                records[key] = refused[draft.order.id]
        if refused:
            # The same key's order may have been stored while this one was judged.
            records |= await self.orders.read_keys(
                transaction, [key for key in new if key in records]
            )
        fit = {key: draft for key, draft in new.items() if key not in records}
        if fit:
            records.update(await self._keep(transaction, fit))
        return records

    async def _keep(
        self, transaction: Transaction, fit: Mapping[Key, Draft]
    ) -> Mapping[Key, KeyRecord | NotTaken]:
        return await super()._store(transaction, fit)
