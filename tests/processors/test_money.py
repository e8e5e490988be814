"""Money: amounts are exact to 12 decimals, rounded once and half to even, and what is no amount is None."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.money import units, units_of_double, usd
from tests.otlp.messages import AWKWARD_TEXTS

UNIT = Decimal("1E-12")
MILLION = Decimal(10) ** 6
STORED = pa.decimal128(18, 12)

amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=-2 * MILLION, max_value=2 * MILLION)


def _rounded(amount: Decimal) -> Decimal:
    """The amount to 12 decimals, half to even, by exact fractions."""
    return Decimal(round(Fraction(amount) * 10**12)).scaleb(-12)


@settings(deadline=None)
@given(amount=amounts)
@example(amount=Decimal("0.0000000000005"))
@example(amount=Decimal("0.0000000000015"))
@example(amount=Decimal("-0.0000000000025"))
@example(amount=Decimal("999999.9999999999994"))
@example(amount=Decimal("999999.9999999999999"))
@example(amount=Decimal(1000000))
def test_amounts_are_exact_to_twelve_decimals(amount: Decimal) -> None:
    """An amount below a million is the nearest with 12 decimals, a tie going to the even one; a larger one is None."""
    with localcontext(prec=100):
        expected = _rounded(amount)
        for written in (amount, str(amount)):
            assert usd(written) == (expected if abs(expected) < MILLION else None)


@settings(deadline=None)
@given(amount=st.floats(-1e6, 1e6, exclude_min=True, exclude_max=True))
@example(amount=0.1 + 0.2)
@example(amount=1e-06)
@example(amount=5e-13)
@example(amount=1.5e-12)
@example(amount=0.07)
def test_a_double_counts_as_its_shortest_text(amount: float) -> None:
    """A double is the decimal that its shortest text names, not its binary expansion."""
    with localcontext(prec=100):
        expected = Decimal(repr(amount)).quantize(UNIT, rounding=ROUND_HALF_EVEN)
        assert usd(amount) == (expected if abs(expected) < MILLION else None)


def test_shortest_texts_by_example() -> None:
    """Sums of binary fractions keep the digits that they print, and whole doubles have no fraction."""
    assert str(usd(0.1 + 0.2)) == "0.300000000000"
    assert str(usd(0.01246)) == "0.012460000000"
    assert str(usd(51.0)) == "51.000000000000"
    assert str(usd("0.0123456789012345")) == "0.012345678901"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e6, -1e6, 1e300, Decimal("NaN"), Decimal("sNaN")])
def test_what_is_no_amount_is_none(value: float | Decimal) -> None:
    """NaN, infinities and a million dollars or more are no amounts."""
    assert usd(value) is None


@pytest.mark.parametrize("text", ["", "free", "1,5", "NaN", "Infinity", "1000000", "1e7", "1e999999", "1e9999999"])
def test_texts_that_are_no_amount_are_none(text: str) -> None:
    """A text that names no amount that can be stored is none, however large the number in it."""
    assert usd(text) is None


@settings(deadline=None)
@given(value=st.floats() | st.text(max_size=20) | st.decimals() | st.sampled_from(AWKWARD_TEXTS))
def test_every_amount_can_be_stored(value: float | str | Decimal) -> None:
    """Whatever is given, the result is None or fits the column exactly."""
    amount = usd(value)
    assert pa.array([amount], STORED)[0].as_py() == amount
    if amount is not None:
        assert Decimal(units(amount) or 0) * UNIT == amount


@settings(deadline=None, max_examples=1000)
@given(double=st.floats() | st.floats(-120, 120) | st.integers(0, 10**15).map(lambda n: n / 10**13))
def test_the_short_way_for_doubles_gives_the_exact_result(double: float) -> None:
    """A double has the units of the amount that its shortest text names."""
    assert units_of_double(double) == units(usd(double))
