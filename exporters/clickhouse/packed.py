"""The form in which the spool keeps rows: few columns, each with all of a row's values of one sort.

Making and writing an Arrow column costs microseconds whatever its length, there are eighty columns, and a batch is
often three rows long. Packed, a row is a list of texts, a list of numbers, and a list of map entries; ClickHouse's
columns are made of them when a whole segment is exported. Columns of lists (events and links) stay as they are.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from exporters.clickhouse.columns import Maps, empty_column, offsets_of, to_arrow
from otlp.errors import PermanentError
from otlp.types import NullableColumn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporters.clickhouse.columns import Column
    from otlp.types import Int64Column

_COLUMNS = b"columns"
_TEXTS, _NUMBERS = "Texts", "Numbers"
_MAP, _KEY, _TEXT, _NUMBER = "EntryMap", "EntryKey", "EntryText", "EntryNumber"


class Layout:
    """Which column of a schema is where in the packed form; the order is that of the schema's fields.

    `numbers` has one value more than there are columns of numbers: the bits of those whose value is known.
    """

    def __init__(self, schema: pa.Schema) -> None:
        """The schema may have text, numbers of up to 64 bits (Decimal(18) among them), maps from text, and lists."""
        self.wide = schema
        self.texts = [field.name for field in schema if pa.types.is_string(field.type)]
        self.maps = [field for field in schema if pa.types.is_map(field.type)]
        self.lists = [field for field in schema if pa.types.is_list(field.type)]
        apart = {*self.texts, *(field.name for field in (*self.maps, *self.lists))}
        self.numbers = [field for field in schema if field.name not in apart]
        entries = [(_MAP, pa.uint8()), (_KEY, pa.string()), (_TEXT, pa.string()), (_NUMBER, pa.int64())]
        self.packed = pa.schema(
            [
                pa.field(_TEXTS, pa.list_(pa.string(), len(self.texts)), nullable=False),
                pa.field(_NUMBERS, pa.list_(pa.int64(), len(self.numbers) + 1), nullable=False),
                *(pa.field(name, pa.list_(kind), nullable=False) for name, kind in entries),
                *self.lists,
            ],
            {_COLUMNS: json.dumps(schema.names)},
        )
        self._number_places = {field.name: place for place, field in enumerate(self.numbers)}
        self._map_codes = {field.name: code for code, field in enumerate(self.maps)}
        self._text_maps = {field.name for field in self.maps if pa.types.is_string(field.type.item_type)}
        self._list_kinds = {field.name: field.type for field in self.lists}

    def pack(self, columns: Mapping[str, Column], rows: int) -> pa.RecordBatch:
        """Columns by name, in the form of `packed`; what is missing is empty."""
        text = np.full((rows, len(self.texts)), "", np.object_)
        for place, name in enumerate(self.texts):
            if name in columns:
                text[:, place] = columns[name]
        arrays = [
            _fixed_lists(pa.array(text.ravel(), pa.string()), len(self.texts)),
            _fixed_lists(pa.array(self._pack_numbers(columns, rows).ravel()), len(self.numbers) + 1),
            *self._pack_maps({name: maps for name, maps in columns.items() if isinstance(maps, Maps)}, rows),
            *(
                to_arrow(columns[name], kind, rows) if name in columns else self._no_list(name, rows)
                for name, kind in self._list_kinds.items()
            ),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.packed)

    def unpack(self, packed: pa.Table) -> pa.Table:
        """The rows with the columns of `wide`.

        They may have been packed by a version with other columns: what it did not have is empty, and what it had too
        many is a PermanentError, because only a newer version can have written that.
        """
        names = json.loads(packed.schema.metadata[_COLUMNS])
        if names == self.wide.names:
            return self._unpack(packed)
        unknown = sorted(set(names) - set(self.wide.names))
        if unknown:
            text = (
                f"The rows have columns that this version does not know: {', '.join(unknown)}. Use the newer version."
            )
            raise PermanentError(text, reason="newer_version")
        older = Layout(pa.schema([self.wide.field(name) for name in names])).unpack(packed)
        arrays = [
            older[field.name] if field.name in names else empty_column(field, packed.num_rows) for field in self.wide
        ]
        return pa.Table.from_arrays(arrays, schema=self.wide)

    def _unpack(self, packed: pa.Table) -> pa.Table:
        rows = packed.num_rows
        arrays: dict[str, pa.Array] = {field.name: _joined(packed[field.name]) for field in self.lists}
        text = _joined(packed[_TEXTS]).flatten()
        for place, name in enumerate(self.texts):
            arrays[name] = text.take(pa.array(np.arange(place, len(text), len(self.texts))))
        numbers = _joined(packed[_NUMBERS]).flatten().to_numpy().reshape(rows, len(self.numbers) + 1)
        known = numbers[:, -1]
        for place, field in enumerate(self.numbers):
            arrays[field.name] = _unpack_number(numbers[:, place], (known >> place) & 1, field)
        arrays |= self._unpack_maps(packed)
        return pa.Table.from_arrays([arrays[name] for name in self.wide.names], schema=self.wide)

    def _pack_numbers(self, columns: Mapping[str, Column], rows: int) -> Int64Column:
        numbers = np.zeros((rows, len(self.numbers) + 1), np.int64)
        known = np.zeros(rows, np.int64)
        for name, place in self._number_places.items():
            column = columns.get(name)
            if isinstance(column, NullableColumn):
                numbers[:, place] = _bits(column.values)
                known |= column.valid.astype(np.int64) << place
            elif isinstance(column, np.ndarray):
                numbers[:, place] = _bits(column)
        numbers[:, -1] = known
        return numbers

    def _pack_maps(self, maps: Mapping[str, Maps], rows: int) -> list[pa.Array]:
        """The entries of all maps in one list a row: which map, key, and value as text or number."""
        if not maps:
            return [self._no_entries(name, rows) for name in (_MAP, _KEY, _TEXT, _NUMBER)]
        sizes = [len(column.owner) for column in maps.values()]
        owner = np.concatenate([column.owner for column in maps.values()])
        order = np.argsort(owner, kind="stable")
        codes = np.repeat(np.array([self._map_codes[name] for name in maps], np.uint8), sizes)
        keys = np.concatenate([column.keys for column in maps.values()])
        values, numbers = np.full(len(owner), "", np.object_), np.zeros(len(owner), np.int64)
        start = 0
        for (name, column), size in zip(maps.items(), sizes, strict=True):
            if name in self._text_maps:
                values[start : start + size] = column.values
            else:
                numbers[start : start + size] = _bits(column.values)
            start += size
        offsets = offsets_of(owner[order], rows)
        return [
            pa.ListArray.from_arrays(offsets, items)
            for items in (
                pa.array(codes[order]),
                pa.array(keys[order], pa.string()),
                pa.array(values[order], pa.string()),
                pa.array(numbers[order]),
            )
        ]

    def _unpack_maps(self, packed: pa.Table) -> dict[str, pa.Array]:
        lists = {name: _joined(packed[name]) for name in (_MAP, _KEY, _TEXT, _NUMBER)}
        flat = {name: column.flatten() for name, column in lists.items()}
        codes, numbers = flat[_MAP].to_numpy(), flat[_NUMBER].to_numpy()
        owner = np.repeat(np.arange(packed.num_rows), lists[_MAP].value_lengths().to_numpy())
        arrays = {}
        for code, field in enumerate(self.maps):
            entries = np.flatnonzero(codes == code)
            indices, value_type = pa.array(entries), field.type.item_type
            if pa.types.is_string(value_type):
                values = flat[_TEXT].take(indices)
            else:
                values = _unpack_number(numbers[entries], None, pa.field("", value_type, nullable=False))
            offsets = offsets_of(owner[entries], packed.num_rows)
            arrays[field.name] = pa.MapArray.from_arrays(offsets, flat[_KEY].take(indices), values)
        return arrays

    @lru_cache(maxsize=4096)  # noqa: B019 - there is one layout, and it lives as long as the process
    def _no_list(self, name: str, rows: int) -> pa.Array:
        return empty_column(self.wide.field(name), rows)

    @lru_cache(maxsize=1024)  # noqa: B019 - likewise
    def _no_entries(self, name: str, rows: int) -> pa.Array:
        return empty_column(self.packed.field(name), rows)


def _fixed_lists(values: pa.Array, size: int) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(values, size)


def _joined(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _bits(values: np.ndarray) -> np.ndarray:
    """Numbers as 64-bit integers with the same bits, or, if they are narrower, the same value."""
    return values.view(np.int64) if values.dtype.itemsize == 8 else values


def _unpack_number(bits: Int64Column, known: Int64Column | None, field: pa.Field) -> pa.Array:
    kind = field.type
    values = np.ascontiguousarray(bits)
    if not (pa.types.is_timestamp(kind) or pa.types.is_decimal(kind)):
        dtype = np.dtype(kind.to_pandas_dtype())
        values = values.view(dtype) if dtype.itemsize == 8 else values.astype(dtype)
    if field.nullable and known is not None:
        return to_arrow(NullableColumn(values, known.astype(np.bool_)), kind, len(values))
    return to_arrow(values, kind, len(values))
