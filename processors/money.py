"""Exact US dollars: amounts as whole units of 10^-12 dollars, from whatever form a sender writes them in."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

UNITS_PER_DOLLAR = 10**12

_UNIT = Decimal("1E-12")
_LIMIT = Decimal(10) ** 6
_EXACT = Context(prec=50, rounding=ROUND_HALF_EVEN)
_FAST_LIMIT = 100.0
_CLEARLY_WHOLE = 0.25


def usd(value: float | str | Decimal) -> Decimal | None:
    """An amount as it is stored. A double counts as the decimal of its shortest text; rounded once, half to even.

    None for what is no amount, or too large for a single span (a million dollars).
    """
    try:
        amount = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation:
        return None
    if not amount.is_finite() or amount.copy_abs() >= _LIMIT:
        return None
    rounded = amount.quantize(_UNIT, context=_EXACT)
    return rounded if abs(rounded) < _LIMIT else None


def units(amount: Decimal | None) -> int | None:
    """An amount that `usd` gave, in units of 10^-12 dollars."""
    return None if amount is None else int(amount.scaleb(12, context=_EXACT))


def units_of_double(value: float) -> int | None:
    """What `units(usd(value))` is, without the detour where that is safe.

    Below a hundred dollars a double times 10^12 lies within 0.03 of the decimal that its shortest text names, so where
    the product is clearly near a whole number, that number is the answer.
    """
    if -_FAST_LIMIT < value < _FAST_LIMIT:
        scaled = value * UNITS_PER_DOLLAR
        whole = round(scaled)
        if abs(scaled - whole) < _CLEARLY_WHOLE:
            return whole
    return units(usd(value))
