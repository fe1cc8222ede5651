"""The request to place an order: from untrusted bytes to values that every later step may trust.

Pure. Whatever leaves this module fits the tables: bounded, finite, free of U+0000.
"""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import msgspec

from waybill.commerce.contracts import Line


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A valid request. `(scope, route, key)` is its idempotency identity (C37, protocol I1).

    `scope` is the caller ("" while there are no tokens). `fingerprint` is the SHA-256 (hex) over
    the parsed values, so that 29.99 and 29.990 are one payload. `traceparent` is the context
    in which the order is placed.
    """

    scope: str
    route: str
    key: str
    fingerprint: str
    customer_id: UUID
    currency: str
    items: tuple[Line, ...]
    total_amount: Decimal
    traceparent: str


class Placed(msgspec.Struct, frozen=True):
    """The order is durable. `body` is the first response, byte for byte, also on a replay."""

    body: bytes
    replayed: bool


class KeyReused(msgspec.Struct, frozen=True):
    """The key belongs to another payload; nothing was done."""

    order_id: UUID
