"""What the inventory service shows over HTTP."""

from __future__ import annotations

from uuid import UUID

import msgspec


class ProductView(msgspec.Struct, frozen=True, rename="camel"):
    """A product: units that can be ordered, and units held for orders that are not ended yet."""

    id: UUID
    name: str
    stock: int
    reserved: int


class ProductPage(msgspec.Struct, frozen=True, rename="camel"):
    """Products by ascending id; `next_cursor` is null on the last page."""

    items: tuple[ProductView, ...]
    next_cursor: str | None = None
