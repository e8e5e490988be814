"""Turns columns of a batch into Arrow, all columns of one type together.

Converting a column costs microseconds whatever its length, and a batch is often three rows long. So the columns of one
type are joined, converted once, and cut apart again, which copies nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa

from otlp.types import NullableColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otlp.types import Int32Column


class Kind:
    """An Arrow type with what it is made of, prepared once: pyarrow makes its type objects anew at every question.

    `name` stands for the type where it is a key: hashing an Arrow type takes longer than converting a column.
    """

    __slots__ = ("arrow", "children", "is_decimal", "is_timestamp", "name")

    def __init__(self, arrow: pa.DataType) -> None:
        self.arrow = arrow
        self.name = str(arrow)
        self.is_decimal = pa.types.is_decimal(arrow)
        self.is_timestamp = pa.types.is_timestamp(arrow)
        self.children: tuple[Kind, ...] = ()
        if pa.types.is_map(arrow):
            self.children = (Kind(arrow.key_type), Kind(arrow.item_type))
        elif pa.types.is_list(arrow):
            self.children = (Kind(arrow.value_type),)


_OFFSETS = Kind(pa.int32())


@dataclass(frozen=True, slots=True)
class Maps:
    """A map for each owner: `offsets` says where each owner's keys and values begin, and where the last one's end."""

    offsets: Int32Column
    keys: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class Lists:
    """A list for each owner: `offsets` says where each owner's items begin, and where the last one's end."""

    offsets: Int32Column
    items: np.ndarray | Maps


Column: TypeAlias = np.ndarray | NullableColumn | Maps | Lists


def to_arrow(columns: Mapping[str, Column], kinds: Mapping[str, Kind]) -> dict[str, pa.Array]:
    """Each column as an Arrow array of its kind.

    Text columns hold `str` objects, timestamps are nanoseconds (int64), decimals whole units of their last digit.
    """
    leaves = _Leaves()
    for name, column in columns.items():
        _collect(column, kinds[name], leaves)
    leaves.convert()
    return {name: _assemble(column, kinds[name], leaves) for name, column in columns.items()}


def offsets_of(owner: Int32Column, owners: int) -> Int32Column:
    """Where the rows of each of `owners` owners begin, given the (ascending) owner of each row."""
    return owner.searchsorted(np.arange(owners + 1)).astype(np.int32)


class _Leaves:
    """The flat arrays that columns are made of, by kind; taken back in the order in which they were put in."""

    def __init__(self) -> None:
        self._plain: dict[str, tuple[Kind, list[np.ndarray]]] = {}
        self._nullable: dict[str, tuple[Kind, list[NullableColumn]]] = {}
        self._slices: dict[tuple[str, bool], Iterator[pa.Array]] = {}

    def put(self, kind: Kind, values: np.ndarray | NullableColumn) -> None:
        if isinstance(values, NullableColumn):
            self._nullable.setdefault(kind.name, (kind, []))[1].append(values)
        else:
            self._plain.setdefault(kind.name, (kind, []))[1].append(values)

    def convert(self) -> None:
        for name, (kind, arrays) in self._plain.items():
            self._slices[name, False] = _cut(_plain(np.concatenate(arrays), kind), arrays)
        for name, (kind, columns) in self._nullable.items():
            valid = [column.valid for column in columns]
            joined = _nullable(np.concatenate([column.values for column in columns]), np.concatenate(valid), kind)
            self._slices[name, True] = _cut(joined, valid)

    def take(self, kind: Kind, *, nullable: bool = False) -> pa.Array:
        return next(self._slices[kind.name, nullable])


def _cut(joined: pa.Array, arrays: list[np.ndarray]) -> Iterator[pa.Array]:
    """The arrays that were joined, one after the other."""
    start = 0
    for array in arrays:
        yield joined.slice(start, len(array))
        start += len(array)


def _collect(column: Column, kind: Kind, leaves: _Leaves) -> None:
    if isinstance(column, Maps):
        keys, values = kind.children
        leaves.put(_OFFSETS, column.offsets)
        leaves.put(keys, column.keys)
        leaves.put(values, column.values)
    elif isinstance(column, Lists):
        leaves.put(_OFFSETS, column.offsets)
        _collect(column.items, kind.children[0], leaves)
    else:
        leaves.put(kind, column)


def _assemble(column: Column, kind: Kind, leaves: _Leaves) -> pa.Array:
    if isinstance(column, Maps):
        keys, values = kind.children
        return pa.MapArray.from_arrays(leaves.take(_OFFSETS), leaves.take(keys), leaves.take(values))
    if isinstance(column, Lists):
        return pa.ListArray.from_arrays(leaves.take(_OFFSETS), _assemble(column.items, kind.children[0], leaves))
    return leaves.take(kind, nullable=isinstance(column, NullableColumn))


def _plain(values: np.ndarray, kind: Kind) -> pa.Array:
    return pa.array(values).view(kind.arrow) if kind.is_timestamp else pa.array(values, kind.arrow)


def _nullable(values: np.ndarray, valid: np.ndarray, kind: Kind) -> pa.Array:
    validity = pa.py_buffer(np.packbits(valid, bitorder="little"))
    if kind.is_decimal:
        # A decimal128 is a 128-bit integer, low word first; the upper word only repeats the sign.
        values = np.stack([values, values >> 63], axis=1)
    return pa.Array.from_buffers(kind.arrow, len(valid), [validity, pa.py_buffer(values)])
