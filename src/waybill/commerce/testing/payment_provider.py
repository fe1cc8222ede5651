"""What every PaymentProvider must do: one capture a key, refunds within it, no guesses.

Derive a class of tests from `PaymentProviderContract` and give it the fixtures; it asks nothing
that a provider's sandbox could not answer.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
import pytest

from waybill.commerce.payments.provider import is_name
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.outcome import Delivered, NotFound, Refused, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.commerce.payments.provider import PaymentProvider
    from waybill.messaging.core.outcome import Outcome, QueryOutcome

TOGETHER = 5


class Wanted(msgspec.Struct, frozen=True):
    """A charge to try. The key is what the deliverer gives: the order's id."""

    order_id: UUID
    amount: Decimal = Decimal("29.99")
    currency: str = "EUR"

    @property
    def key(self) -> str:
        """Its idempotency key."""
        return str(self.order_id)


async def charge(provider: PaymentProvider, wanted: Wanted) -> Outcome:
    """Charge it once."""
    return await provider.charge(wanted.key, wanted.amount, wanted.currency, wanted.order_id)


async def charged(provider: PaymentProvider, wanted: Wanted) -> QueryOutcome:
    """What became of the charge."""
    return await provider.charged(wanted.key, wanted.amount, wanted.currency)


async def refunded(provider: PaymentProvider, wanted: Wanted) -> QueryOutcome:
    """What became of the refund."""
    return await provider.refunded(wanted.key, wanted.amount, wanted.currency)


async def refund(provider: PaymentProvider, wanted: Wanted, key: str | None = None) -> Outcome:
    """Give all of it back."""
    return await provider.refund(key or wanted.key, wanted.key, wanted.amount, wanted.currency)


class PaymentProviderContract:
    """Fixtures to give: `provider`, and `declined`, a Wanted that the provider declines.

    `accepted` may be overridden: a function that gives charges that the provider captures.
    """

    @pytest.fixture
    def accepted(self) -> Callable[[], Wanted]:
        """Gives a new charge that will be captured, at every call."""
        return lambda: Wanted(new_id())

    async def test_it_has_a_name_that_events_can_show(self, provider: PaymentProvider) -> None:
        """They say whose charge it was, so it is a short word."""
        assert is_name(provider.name)

    async def test_a_repeated_charge_gets_the_first_answer(
        self, provider: PaymentProvider, accepted: Callable[[], Wanted]
    ) -> None:
        """A key captures once, and the provider's name of the charge stays (P6)."""
        wanted = accepted()
        first = await charge(provider, wanted)
        assert isinstance(first, Delivered)
        assert first.result
        assert await charge(provider, wanted) == first
        assert await charged(provider, wanted) == first
        assert isinstance(await refund(provider, wanted), Delivered)
        assert isinstance(await refund(provider, wanted, str(new_id())), Refused)

    async def test_charges_of_one_key_at_once_capture_once(
        self, provider: PaymentProvider, accepted: Callable[[], Wanted]
    ) -> None:
        """Each gets the one answer; a key in use may be Unknown, and then the query tells."""
        wanted = accepted()
        answers = await asyncio.gather(*(charge(provider, wanted) for _ in range(TOGETHER)))
        last = await charge(provider, wanted)
        known = {answer for answer in (*answers, last) if not isinstance(answer, Unknown)}
        assert len(known) == 1
        assert isinstance(known.pop(), Delivered)
        assert isinstance(await refund(provider, wanted), Delivered)
        assert isinstance(await refund(provider, wanted, str(new_id())), Refused)

    @pytest.mark.parametrize(
        ("amount", "currency"), [(Decimal("30.00"), "EUR"), (Decimal("29.99"), "USD")]
    )
    async def test_a_key_used_for_other_money_is_refused(
        self,
        provider: PaymentProvider,
        accepted: Callable[[], Wanted],
        amount: Decimal,
        currency: str,
    ) -> None:
        """What was captured stays as it was; asked about other money, it is neither yes nor no."""
        wanted = accepted()
        first = await charge(provider, wanted)
        other = await provider.charge(wanted.key, amount, currency, wanted.order_id)
        assert isinstance(other, Refused)
        assert await charged(provider, wanted) == first
        assert isinstance(await provider.charged(wanted.key, amount, currency), Unknown)
        given_back = await refund(provider, wanted)
        assert await refunded(provider, wanted) == given_back
        assert isinstance(await provider.refunded(wanted.key, amount, currency), Unknown)

    async def test_a_declined_charge_stays_declined(
        self, provider: PaymentProvider, declined: Wanted
    ) -> None:
        """A refusal is an answer: repeated, and told when asked; there is nothing to give back."""
        assert isinstance(await charge(provider, declined), Refused)
        assert isinstance(await charge(provider, declined), Refused)
        assert isinstance(await charged(provider, declined), Refused)
        assert isinstance(await refund(provider, declined), Refused)

    async def test_a_key_that_never_came_is_not_found(
        self, provider: PaymentProvider, accepted: Callable[[], Wanted]
    ) -> None:
        """For charges and refunds; asking leaves nothing behind."""
        wanted = accepted()
        assert await charged(provider, wanted) == NotFound()
        assert await refunded(provider, wanted) == NotFound()
        assert isinstance(await charge(provider, wanted), Delivered)
        assert await refunded(provider, wanted) == NotFound()

    async def test_a_repeated_refund_gives_back_once(
        self, provider: PaymentProvider, accepted: Callable[[], Wanted]
    ) -> None:
        """The key of a refund is honoured as a charge's is; both may be the order's id."""
        wanted = accepted()
        await charge(provider, wanted)
        first = await refund(provider, wanted)
        assert isinstance(first, Delivered)
        assert await refund(provider, wanted) == first
        assert await refunded(provider, wanted) == first
        assert isinstance(await refund(provider, wanted, str(new_id())), Refused)

    async def test_never_more_is_given_back_than_was_captured(
        self, provider: PaymentProvider, accepted: Callable[[], Wanted]
    ) -> None:
        """Not in amount, not in another currency, and nothing of what was never captured."""
        wanted = accepted()
        assert isinstance(await refund(provider, wanted), Refused)
        await charge(provider, wanted)
        more = wanted.amount + Decimal("0.01")
        too_much = await provider.refund(str(new_id()), wanted.key, more, wanted.currency)
        assert isinstance(too_much, Refused)
        other = await provider.refund(str(new_id()), wanted.key, wanted.amount, "USD")
        assert isinstance(other, Refused)
        assert isinstance(await refund(provider, wanted), Delivered)

    async def test_a_cancelled_charge_can_be_asked_about(
        self, provider: PaymentProvider, accepted: Callable[[], Wanted]
    ) -> None:
        """Whatever a time-out cut off, the key then captures once."""
        wanted = accepted()
        cut = asyncio.create_task(charge(provider, wanted))
        await asyncio.sleep(0)
        cut.cancel()
        await asyncio.gather(cut, return_exceptions=True)
        assert isinstance(await charge(provider, wanted), Delivered)
        assert isinstance(await charged(provider, wanted), Delivered)
        assert isinstance(await refund(provider, wanted), Delivered)
        assert isinstance(await refund(provider, wanted, str(new_id())), Refused)
