"""The columns of rows before they are Arrow, and their conversion to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa

from otlp.types import NullableColumn

if TYPE_CHECKING:
    from otlp.types import Int32Column


@dataclass(frozen=True, slots=True)
class Maps:
    """A map for each owner: the entries' owners (ascending), keys and values."""

    owner: Int32Column
    keys: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class Lists:
    """A list for each owner: the items' owners (ascending), and the items, which may be maps themselves."""

    owner: Int32Column
    items: np.ndarray | Maps


Column: TypeAlias = np.ndarray | NullableColumn | Maps | Lists


def to_arrow(column: Column, kind: pa.DataType, rows: int) -> pa.Array:
    """A column of `rows` rows as an Arrow array.

    Text columns hold `str` objects, timestamps are nanoseconds (int64), decimals whole units of their last digit.
    """
    if isinstance(column, Maps):
        keys, values = pa.array(column.keys, kind.key_type), to_arrow(column.values, kind.item_type, len(column.values))
        return pa.MapArray.from_arrays(offsets_of(column.owner, rows), keys, values)
    if isinstance(column, Lists):
        items = to_arrow(column.items, kind.value_type, len(column.owner))
        return pa.ListArray.from_arrays(offsets_of(column.owner, rows), items)
    if isinstance(column, NullableColumn):
        return _nullable(column, kind)
    if pa.types.is_timestamp(kind):
        return pa.array(column).view(kind)
    return pa.array(column, kind)


def offsets_of(owner: Int32Column, owners: int) -> pa.Int32Array:
    """Where the rows of each of `owners` owners begin, and where the last one's end."""
    return pa.array(owner.searchsorted(np.arange(owners + 1)).astype(np.int32))


def empty_column(field: pa.Field, rows: int) -> pa.Array:
    """A column of nothing: null where the column may be null, else the type's zero."""
    if field.nullable:
        return pa.nulls(rows, field.type)
    if pa.types.is_list(field.type) or pa.types.is_map(field.type):
        return pa.array([[]] * rows, field.type)
    if pa.types.is_string(field.type):
        return pa.array([""] * rows, field.type)
    return pa.array(np.zeros(rows, np.int64)).cast(field.type)


def _nullable(column: NullableColumn, kind: pa.DataType) -> pa.Array:
    validity = pa.py_buffer(np.packbits(column.valid, bitorder="little"))
    values: np.ndarray = np.ascontiguousarray(column.values)
    if pa.types.is_decimal(kind):
        # A decimal128 is a 128-bit integer, low word first; the upper word only repeats the sign.
        values = np.stack([values, values >> 63], axis=1)
    return pa.Array.from_buffers(kind, len(column.valid), [validity, pa.py_buffer(values)])
