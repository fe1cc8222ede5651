"""Products that a document knows by a SKU: the id that stands for it everywhere inside."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from waybill.commerce.contracts import Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SKU_LENGTH_MAX = 64
_SKU = re.compile(rf"[!-~](?:[ -~]{{0,{SKU_LENGTH_MAX - 2}}}[!-~])?")
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class SkuLine(Line, frozen=True):
    """A line that says its product's SKU as well."""

    sku: str


def product_of(sku: object) -> UUID | None:
    """The product's id; a UUID is its own. None: no SKU (printable ASCII, 1 to 64 letters)."""
    if not isinstance(sku, str) or not _SKU.fullmatch(sku):
        return None
    if _UUID.fullmatch(sku):
        return UUID(sku)
    return made_id("sku", sku)


def made_id(kind: str, name: str) -> UUID:
    """An id that a name always gives: half of its SHA-256 (as `reservation.sku` in SQL)."""
    return UUID(bytes=sha256(f"{kind}:{name}".encode()).digest()[:16])


def with_skus(items: Sequence[Line], skus: Iterable[str]) -> tuple[SkuLine, ...]:
    """The same lines with their SKUs, which stand in the same order."""
    return tuple(
        [
            SkuLine(line.product_id, line.quantity, line.unit_price, sku)
            for line, sku in zip(items, skus, strict=True)
        ]
    )


def sku_of(line: Line) -> str:
    """What the line says, or the product's id."""
    return line.sku if isinstance(line, SkuLine) else str(line.product_id)
