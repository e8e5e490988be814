"""Builds map and list columns from long tables whose rows are in the order of their owners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from otlp.attributes import ValueType
from otlp.content import is_content

if TYPE_CHECKING:
    from otlp.attributes import Attributes
    from otlp.types import BoolColumn, Int32Column, Int64Column

_TEXT_MAP = pa.map_(pa.string(), pa.string())
_TYPED_SUFFIXES = {
    "Int": (ValueType.INT, pa.map_(pa.string(), pa.int64())),
    "Double": (ValueType.DOUBLE, pa.map_(pa.string(), pa.float64())),
    "Bool": (ValueType.BOOL, pa.map_(pa.string(), pa.bool_())),
}


def timestamps(nanoseconds: Int64Column) -> pa.TimestampArray:
    """Nanoseconds since 1970 as Arrow timestamps in UTC."""
    return pa.array(nanoseconds).view(pa.timestamp("ns", "UTC"))


def offsets(owner: Int32Column, owners: int) -> pa.Int32Array:
    """Where each owner's rows begin; one element more than there are owners."""
    ends = np.zeros(owners + 1, np.int32)
    np.cumsum(np.bincount(owner, minlength=owners), out=ends[1:])
    return pa.array(ends)


def list_column(owner: Int32Column, owners: int, values: pa.Array) -> pa.ListArray:
    """A list of each owner's values."""
    return pa.ListArray.from_arrays(offsets(owner, owners), values)


def map_column(owner: Int32Column, owners: int, keys: pa.StringArray, values: pa.Array) -> pa.MapArray:
    """A map of each owner's values by key."""
    return pa.MapArray.from_arrays(offsets(owner, owners), keys, values)


def attribute_maps(
    name: str, attributes: Attributes, owners: int, *, with_content: bool = True
) -> dict[str, pa.MapArray]:
    """The attributes of each owner as map columns by type.

    Those of spans have five (`name` and String, Int, Double, Bool, Json) and leave content to `content_maps`. All
    others have two: String, and Json for every other type as OTLP/JSON text.
    """
    if not len(attributes):
        return {}
    names = pa.array(attributes.keys, pa.string())
    wanted = np.ones(len(attributes), np.bool_) if with_content else ~attributes.where(is_content)

    def column(selected: BoolColumn, values: pa.Array | None = None) -> pa.MapArray:
        rows = np.flatnonzero(selected).astype(np.int32)
        chosen = _otlp_json(attributes, rows) if values is None else values.take(pa.array(attributes.slot[rows]))
        return map_column(attributes.owner[rows], owners, names.take(pa.array(attributes.key[rows])), chosen)

    is_string = attributes.type == ValueType.STRING
    maps = {f"{name}String": column(wanted & is_string, attributes.strings)}
    if with_content:
        maps[f"{name}Json"] = column(~is_string)
        return maps
    for suffix, values in (
        ("Int", attributes.ints),
        ("Double", attributes.doubles),
        ("Bool", attributes.bools),
        ("Json", attributes.jsons),
    ):
        if len(values):
            value_type = ValueType[suffix.upper()]
            maps[f"{name}{suffix}"] = column(wanted & (attributes.type == value_type), pa.array(values))
    return maps


def content_maps(attributes: Attributes, owners: int) -> dict[str, pa.MapArray]:
    """Content by key, each distinct text of a span once; the keys of further copies lead to the key that has it."""
    rows = np.flatnonzero(attributes.where(is_content)).astype(np.int32)
    if not len(rows):
        return {}
    owner = attributes.owner[rows]
    keys = pa.array(attributes.keys, pa.string()).take(pa.array(attributes.key[rows]))
    values = attributes.text(rows)
    distinct = values.dictionary_encode()
    identity = owner.astype(np.int64) * len(distinct.dictionary) + distinct.indices.to_numpy()
    _, first, group = np.unique(identity, return_index=True, return_inverse=True)
    holder = first[group]
    kept = np.flatnonzero(holder == np.arange(len(rows)))
    copies = np.flatnonzero(holder != np.arange(len(rows)))
    kept_rows, copied_rows = pa.array(kept), pa.array(copies)
    return {
        "Content": map_column(owner[kept], owners, keys.take(kept_rows), values.take(kept_rows)),
        "ContentSameAs": map_column(owner[copies], owners, keys.take(copied_rows), keys.take(pa.array(holder[copies]))),
    }


def _otlp_json(attributes: Attributes, rows: Int32Column) -> pa.StringArray:
    """Values as OTLP/JSON text, whatever their type."""
    texts = []
    for row, plain in zip(rows.tolist(), attributes.text(rows).to_pylist(), strict=True):
        match attributes.type[row]:
            case ValueType.INT:
                texts.append(f'{{"intValue":"{plain}"}}')
            case ValueType.DOUBLE:
                number = attributes.doubles[attributes.slot[row]]
                texts.append(f'{{"doubleValue":{plain if np.isfinite(number) else _NOT_FINITE[plain]}}}')
            case ValueType.BOOL:
                texts.append(f'{{"boolValue":{plain}}}')
            case _:
                texts.append(plain)
    return pa.array(texts, pa.string())


_NOT_FINITE = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}
