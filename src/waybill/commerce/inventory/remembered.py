"""The catalogue behind a cache: one product may be shown as it was up to half a minute ago.

Lists are read from the database, and so is everything that is decided: reserving locks the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from waybill.commerce.caching.catalogue import CatalogueCache
from waybill.commerce.inventory.views import ProductView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from waybill.commerce.caching.cache import Cache
    from waybill.commerce.inventory.api import Products

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ProductView).decode


class RememberedProducts:
    """`Products`."""

    def __init__(self, products: Products, cache: Cache, random: Callable[[], float]) -> None:
        self._products = products
        self._cache = CatalogueCache(cache, self._load, random=random)

    async def product(self, product_id: UUID) -> ProductView | None:
        """See Products."""
        name = str(product_id)
        found = (await self._cache.products([name])).get(name)
        if found is None:
            return None
        try:
            return _decode(found)
        except msgspec.MsgspecError:  # another release wrote it
            return await self._products.product(product_id)

    async def products(self, *, after: UUID | None, limit: int) -> Sequence[ProductView]:
        """See Products."""
        return await self._products.products(after=after, limit=limit)

    async def create(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """See Products."""
        made = await self._products.create(product_id, name, stock)
        await self._cache.changed([str(product_id)])
        return made

    async def change(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """See Products."""
        changed = await self._products.change(product_id, name, stock)
        await self._cache.changed([str(product_id)])
        return changed

    async def _load(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        found = [(each, await self._products.product(UUID(each))) for each in ids]
        return {each: _encode(product) for each, product in found if product is not None}
