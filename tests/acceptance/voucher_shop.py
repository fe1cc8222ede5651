"""A user's payment provider as a platform is given it: the one of docs/library/payment-provider.md.

PAYMENT_PROVIDER=tests.acceptance.voucher_shop:make
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from tests.commerce.test_own_provider import Vouchers

if TYPE_CHECKING:
    from decimal import Decimal
    from uuid import UUID

    from waybill.messaging.core.outcome import Outcome

FILE: Final = "VOUCHER_SHOP_FILE"


class Booked(msgspec.Struct, frozen=True):
    """A line of the shop's own books: what it was asked, and its answer."""

    asked: str
    key: str
    answer: str


class BookedVouchers(Vouchers):
    """Blocks the voucher of every other order, and keeps books."""

    def __init__(self, books: Path) -> None:
        self._blocked_orders: set[UUID] = set()
        super().__init__(self._blocked_orders)
        self._books = books

    async def charge(self, key: str, amount: Decimal, currency: str, order_id: UUID) -> Outcome:
        """See PaymentProvider."""
        if order_id.int % 2:
            self._blocked_orders.add(order_id)
        return self._book("charge", key, await super().charge(key, amount, currency, order_id))

    async def refund(self, key: str, charge_key: str, amount: Decimal, currency: str) -> Outcome:
        """See PaymentProvider."""
        answer = await super().refund(key, charge_key, amount, currency)
        return self._book("refund", charge_key, answer)

    def _book(self, asked: str, key: str, answer: Outcome) -> Outcome:
        with self._books.open("ab") as file:
            file.write(msgspec.json.encode(Booked(asked, key, type(answer).__name__)) + b"\n")
        return answer


def make() -> BookedVouchers:
    """What the platform calls when its payment service starts."""
    return BookedVouchers(Path(os.environ[FILE]))


def books(file: Path) -> list[Booked]:
    """All of its lines."""
    return [msgspec.json.decode(line, type=Booked) for line in file.read_bytes().splitlines()]
