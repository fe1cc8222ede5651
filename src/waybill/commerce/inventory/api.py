"""HTTP of the inventory service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from waybill.commerce.inventory.views import ProductView


class Products(Protocol):
    """The catalogue with its stock. Every method may raise TransientError."""

    async def product(self, product_id: UUID) -> ProductView | None:
        """One product; None if there is none."""

    async def products(self, *, after: UUID | None, limit: int) -> Sequence[ProductView]:
        """At most `limit` products by ascending id, of ids above `after`."""

    async def create(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """Add a product, its stock as a ledger entry; None if the id is taken."""

    async def change(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """Rename, and bring the orderable stock to `stock` by a ledger entry; None: unknown."""
