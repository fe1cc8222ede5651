"""Exact money: what a price may be in its currency, and what the books can hold."""

from __future__ import annotations

from decimal import Decimal

DEFAULT_CURRENCY = "EUR"
AMOUNT_MAX = Decimal("9999999999.99")
"""The largest amount that NUMERIC(12,2) holds."""

_STORED_DIGITS = 2
_NO_MINOR_UNIT = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
"""Currencies of ISO 4217 with no minor unit."""


def minor_digits(currency: str) -> int:
    """Fractional digits of an amount: ISO 4217's, at most the two that the books store."""
    return 0 if currency in _NO_MINOR_UNIT else _STORED_DIGITS


def is_finer_than(amount: Decimal, digits: int) -> bool:
    """Whether the *value* needs more fractional digits: 29.990 does not need three (C36)."""
    exponent = amount.as_tuple().exponent
    return not isinstance(exponent, int) or (exponent < -digits and amount != round(amount, digits))


def in_minor_units(amount: Decimal, digits: int) -> Decimal:
    """The same value, written with no exponent and at most `digits` fractional digits."""
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and (exponent > 0 or exponent < -digits):
        return amount.quantize(Decimal(1).scaleb(-digits if exponent < 0 else 0))
    return amount


def plain(amount: Decimal) -> str:
    """The value's one spelling: no exponent, no trailing zeros (29.990 is `29.99`)."""
    return format(amount.normalize(), "f")
