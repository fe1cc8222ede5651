"""Money: exact decimals that fit NUMERIC(12,2), never finer than the currency's minor unit (C36).

ISO 4217 gives the digits. A currency with more than two (KWD, BHD, …) is held in hundredths
here, because the documented columns hold two digits: a third one is refused, never rounded.
"""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

AMOUNT_MAX = Decimal("9999999999.99")
AMOUNT_MIN = Decimal("0.01")
SCALE_MAX = 2

_NO_MINOR_UNIT = frozenset(
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split()  # noqa: SIM905
)
_QUANTA = (Decimal(1), Decimal("0.1"), Decimal("0.01"))
_EXACT = Context(prec=28, traps=[Inexact, InvalidOperation, Overflow])


def minor_digits(currency: str) -> int:
    """Digits after the point that an amount of this currency may have."""
    return 0 if currency in _NO_MINOR_UNIT else SCALE_MAX


def finer_than_minor_unit(amount: Decimal, currency: str) -> bool:
    """Whether the *value* needs more digits than the currency has; trailing zeros do not count."""
    try:
        amount.quantize(_QUANTA[minor_digits(currency)], context=_EXACT)
    except Inexact:
        return True
    return False


def normalised(amount: Decimal, currency: str) -> Decimal:
    """The same value with its own digits, within 0 and the currency's: 29.990 is 29.99, 1E+2 100.

    The amount must be in range and no finer than the minor unit.
    """
    exponent = amount.as_tuple().exponent
    digits = minor_digits(currency)
    if not isinstance(exponent, int):
        message = f"{amount} is no amount of money"
        raise TypeError(message)
    if -digits <= exponent <= 0:
        return amount
    return amount.quantize(_QUANTA[0 if exponent > 0 else digits], context=_EXACT)


def canonical(amount: Decimal) -> Decimal:
    """The same value with exactly two digits: equal amounts have equal texts."""
    return amount.quantize(_QUANTA[SCALE_MAX], context=_EXACT)
