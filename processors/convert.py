"""Turns picked attribute values into columns: text, token counts, milliseconds and exact US dollars.

Senders write numbers as integers, doubles or text; what cannot be the number that a column holds becomes null.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from otlp.attributes import ValueType

if TYPE_CHECKING:
    from otlp.attributes import Attributes
    from otlp.types import Int32Column

USD = pa.decimal128(18, 12)
"""US dollars, exact to 12 decimals."""

_USD_UNIT = Decimal("1E-12")
_USD_LIMIT = Decimal(10) ** 6
_EXACT = Context(prec=50, rounding=ROUND_HALF_EVEN)


def usd(value: float | str | Decimal) -> Decimal | None:
    """An amount as it is stored. A double counts as the decimal of its shortest text; rounded once, half to even.

    None for what is no amount, or too large for a single span (a million dollars).
    """
    try:
        amount = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation:
        return None
    if not amount.is_finite() or abs(amount) >= _USD_LIMIT:
        return None
    return amount.quantize(_USD_UNIT, context=_EXACT)


def texts(attributes: Attributes, rows: Int32Column) -> pa.StringArray:
    """The values at `rows` as text; empty where a row is -1."""
    present = rows >= 0
    found = attributes.text(rows[present])
    place = np.full(len(rows), len(found), np.int32)
    place[present] = np.arange(len(found), dtype=np.int32)
    return pa.concat_arrays([found, pa.array([""], pa.string())]).take(pa.array(place))


def counts(attributes: Attributes, rows: Int32Column) -> pa.UInt64Array:
    """The values at `rows` as whole numbers, 0 or more."""
    values = np.zeros(len(rows), np.uint64)
    absent = np.ones(len(rows), np.bool_)
    present = np.flatnonzero(rows >= 0)
    types, slots = attributes.type[rows[present]], attributes.slot[rows[present]]
    whole = types == ValueType.INT
    numbers = attributes.ints[slots[whole]]
    usable = numbers >= 0
    cells = present[whole][usable]
    values[cells] = numbers[usable].astype(np.uint64)
    absent[cells] = False
    for cell in present[~whole].tolist():
        number = _number(attributes, int(rows[cell]))
        if number is not None and 0 <= number < 2**63 and number == int(number):
            values[cell] = int(number)
            absent[cell] = False
    return pa.array(values, mask=absent)


def milliseconds(attributes: Attributes, rows: Int32Column, factor: np.ndarray) -> pa.DoubleArray:
    """The values at `rows`, each times its factor."""
    values = np.full(len(rows), np.nan)
    for cell in np.flatnonzero(rows >= 0).tolist():
        number = _number(attributes, int(rows[cell]))
        if number is not None:
            values[cell] = float(number) * factor[cell]
    return pa.array(values, mask=~np.isfinite(values))


def dollars(attributes: Attributes, rows: Int32Column) -> pa.Decimal128Array:
    """The values at `rows` as amounts in US dollars."""
    amounts: list[Decimal | None] = [None] * len(rows)
    for cell in np.flatnonzero(rows >= 0).tolist():
        number = _number(attributes, int(rows[cell]))
        amounts[cell] = None if number is None else usd(number)
    return pa.array(amounts, USD)


def _number(attributes: Attributes, row: int) -> Decimal | None:
    """The number that an attribute holds, in whatever form, exactly; None for anything else."""
    slot = attributes.slot[row]
    match attributes.type[row]:
        case ValueType.INT:
            return Decimal(int(attributes.ints[slot]))
        case ValueType.DOUBLE:
            number = Decimal(repr(float(attributes.doubles[slot])))
        case ValueType.STRING:
            try:
                number = Decimal(attributes.strings[slot].as_py().strip())
            except InvalidOperation:
                return None
        case _:
            return None
    return number if number.is_finite() else None
