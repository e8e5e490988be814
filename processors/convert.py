"""Turns picked attribute values into columns: text, token counts, milliseconds and exact US dollars.

Senders write numbers as integers, doubles or text; what cannot be the number that a column holds becomes null.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import numpy as np

from otlp.attributes import DOUBLE, INT, STRING
from otlp.types import NullableColumn
from processors.money import units, units_of_double, usd

if TYPE_CHECKING:
    from otlp.attributes import Attributes
    from otlp.types import Float64Column, Int32Column, TextColumn


def texts(attributes: Attributes, rows: Int32Column) -> TextColumn:
    """The values at `rows` as text; empty where a row is -1."""
    text = np.full(rows.shape, "", np.object_)
    present = rows >= 0
    text[present] = attributes.text(rows[present])
    return text


def counts(attributes: Attributes, rows: Int32Column) -> NullableColumn:
    """The values at `rows` as whole numbers, 0 or more (uint64)."""
    values = np.zeros(rows.shape, np.uint64)
    valid = np.zeros(rows.shape, np.bool_)
    cells, types, slots = _present(attributes, rows)
    whole = types == INT
    numbers = attributes.ints[slots[whole]]
    values[cells[whole]] = np.maximum(numbers, 0).astype(np.uint64)
    valid[cells[whole]] = numbers >= 0
    for cell, number in _others(attributes, cells, types, slots, ~whole):
        if 0 <= number < 2**63 and number == int(number):
            values[cell], valid[cell] = int(number), True
    return NullableColumn(values, valid)


def milliseconds(attributes: Attributes, rows: Int32Column, factor: Float64Column) -> NullableColumn:
    """The values at `rows`, each times its factor (float64)."""
    values = np.full(rows.shape, np.nan)
    cells, types, slots = _present(attributes, rows)
    doubles = types == DOUBLE
    values[cells[doubles]] = attributes.doubles[slots[doubles]]
    for cell, number in _others(attributes, cells, types, slots, ~doubles):
        values[cell] = float(number)
    values *= factor
    return NullableColumn(values, np.isfinite(values))


def dollars(attributes: Attributes, rows: Int32Column) -> NullableColumn:
    """The values at `rows` as amounts in units of 10^-12 US dollars (int64)."""
    values = np.zeros(rows.shape, np.int64)
    valid = np.zeros(rows.shape, np.bool_)
    cells, types, slots = _present(attributes, rows)
    doubles = types == DOUBLE
    amounts = zip(cells[doubles].tolist(), attributes.doubles[slots[doubles]].tolist(), strict=True)
    exact = [(cell, units_of_double(number)) for cell, number in amounts]
    exact += [(cell, units(usd(number))) for cell, number in _others(attributes, cells, types, slots, ~doubles)]
    for cell, amount in exact:
        if amount is not None:
            values[cell], valid[cell] = amount, True
    return NullableColumn(values, valid)


def _present(attributes: Attributes, rows: Int32Column) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells that have a row, and the type and slot of each one's value."""
    cells = (rows >= 0).nonzero()[0]
    found = rows[cells]
    return cells, attributes.type[found], attributes.slot[found]


def _others(
    attributes: Attributes, cells: np.ndarray, types: np.ndarray, slots: np.ndarray, chosen: np.ndarray
) -> list[tuple[int, Decimal]]:
    """The chosen cells whose values are numbers in whatever form, exactly."""
    if not chosen.any():
        return []
    numbers = []
    for cell, value_type, slot in zip(cells[chosen].tolist(), types[chosen], slots[chosen], strict=True):
        number = _number(attributes, int(value_type), int(slot))
        if number is not None:
            numbers.append((cell, number))
    return numbers


def _number(attributes: Attributes, value_type: int, slot: int) -> Decimal | None:
    try:
        if value_type == INT:
            number = Decimal(int(attributes.ints[slot]))
        elif value_type == DOUBLE:
            number = Decimal(repr(float(attributes.doubles[slot])))
        elif value_type == STRING:
            text = attributes.strings[slot].strip()
            if "_" in text:  # Python's own notation, not a number that a sender writes
                return None
            number = Decimal(text)
        else:
            return None
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
