"""A provider of the user's own is made when payments start, or the start says in a line why not."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.commerce.test_own_provider import Vouchers

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.named_provider import made_by

if TYPE_CHECKING:
    from waybill.messaging.core.outcome import QueryOutcome

HERE = __name__


class Half:
    """Knows charges only."""

    async def charge(self) -> None:
        """Take money."""

    async def charged(self) -> None:
        """Tell."""


class Short(Vouchers):
    """Told nothing of the money when it is asked."""

    async def charged(self, key: str) -> QueryOutcome:  # type: ignore[override] # what is tried
        """Tell."""
        return await super().charged(key, Decimal(1), "EUR")


class Nameless(Vouchers):
    """Called by what is no name."""

    name = "our vouchers"


def nameless() -> Vouchers:
    """A class that events cannot call so."""
    return Nameless(blocked=set())


def short() -> Vouchers:
    """A class that cannot be called as the port says."""
    return Short(blocked=set())


def vouchers() -> Vouchers:
    """As a user writes it."""
    return Vouchers(blocked=set())


async def connected() -> Vouchers:
    """One that needs the event loop to be made."""
    return vouchers()


def broken() -> Vouchers:
    """One whose settings are missing."""
    raise KeyError("VOUCHERS_URL")


NOT_CALLABLE = 1


@pytest.mark.parametrize("name", ["vouchers", "connected"])
async def test_it_is_what_the_factory_gives(name: str) -> None:
    """A function, or a coroutine function."""
    assert isinstance(await made_by(f"{HERE}:{name}"), Vouchers)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shop.payments", "write module:factory"),
        ("shop.payments:", "write module:factory"),
        ("no_such_shop:make", "no_such_shop cannot be imported: ModuleNotFoundError.*PYTHONPATH"),
        (f"{HERE}:nothing", "has no function or class nothing"),
        (f"{HERE}:NOT_CALLABLE", "has no function or class NOT_CALLABLE"),
        (f"{HERE}:broken", r"broken\(\) raised KeyError: 'VOUCHERS_URL'"),
        (
            f"{HERE}:short",
            r"the charged of Short is called with \(key, amount, currency\), and cannot be",
        ),
        (f"{HERE}:nameless", 'a Nameless needs a name, .* name = "vouchers"'),
        (f"{HERE}:Half", "a Half without refund, refunded"),
    ],
)
async def test_what_cannot_be_made_is_told_in_a_line(name: str, words: str) -> None:
    """With the setting, what was given, and what to do."""
    with pytest.raises(ConfigurationError, match=f"PAYMENT_PROVIDER={name}.*{words}"):
        await made_by(name)
