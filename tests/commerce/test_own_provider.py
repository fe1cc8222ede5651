"""The provider that docs/library/payment-provider.md shows keeps the contract, as the page says."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid5

import msgspec
import pytest

from waybill.commerce.testing.payment_provider import PaymentProviderContract, Wanted
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered, NotFound, Refused, Unknown

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.messaging.core.outcome import Outcome, QueryOutcome

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "library" / "payment-provider.md"


class Money(msgspec.Struct, frozen=True):
    """An amount in a currency."""

    amount: Decimal
    currency: str


class Vouchers:
    """Takes payment in vouchers: an order's key is used once, and remembered with its answer."""

    name = "vouchers"

    def __init__(self, blocked: set[UUID]) -> None:
        self._blocked = blocked
        self._charges: dict[str, tuple[Money, Outcome]] = {}
        self._refunds: dict[str, tuple[Money, Outcome]] = {}
        self._given_back: set[str] = set()

    async def charge(self, key: str, amount: Decimal, currency: str, order_id: UUID) -> Outcome:
        money = Money(amount, currency)
        if key not in self._charges:
            name = uuid5(order_id, key).bytes.hex().encode()
            no = Refused("payment_refused", "This voucher is blocked")
            self._charges[key] = (money, no if order_id in self._blocked else Delivered(name))
        return _first_answer(self._charges[key], money)

    async def refund(self, key: str, charge_key: str, amount: Decimal, currency: str) -> Outcome:
        money = Money(amount, currency)
        if key not in self._refunds:
            charged, answer = self._charges.get(charge_key, (None, None))
            if not isinstance(answer, Delivered) or charge_key in self._given_back:
                return Refused("nothing_to_refund")
            if charged is None or currency != charged.currency or amount > charged.amount:
                return Refused("nothing_to_refund")
            self._given_back.add(charge_key)
            self._refunds[key] = (money, Delivered(b"back-" + answer.result))
        return _first_answer(self._refunds[key], money)

    async def charged(self, key: str, amount: Decimal, currency: str) -> QueryOutcome:
        return _told(self._charges.get(key), Money(amount, currency))

    async def refunded(self, key: str, amount: Decimal, currency: str) -> QueryOutcome:
        return _told(self._refunds.get(key), Money(amount, currency))


def _first_answer(kept: tuple[Money, Outcome], asked: Money) -> Outcome:
    money, answer = kept
    return answer if money == asked else Refused("idempotency_key_reused")


def _told(kept: tuple[Money, Outcome] | None, asked: Money) -> QueryOutcome:
    if kept is None:
        return NotFound()
    money, answer = kept
    return answer if money == asked else Unknown("this key stands for other money")


class TestVouchers(PaymentProviderContract):
    @pytest.fixture
    def declined(self) -> Wanted:
        return Wanted(new_id())

    @pytest.fixture
    def provider(self, declined: Wanted) -> Vouchers:
        return Vouchers(blocked={declined.order_id})


def test_the_page_shows_this_provider() -> None:
    """Every Python snippet of the page is a part of this file."""
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(snippets) >= 2
    own = Path(__file__).read_text()
    for snippet in snippets:
        assert snippet.strip() in own
