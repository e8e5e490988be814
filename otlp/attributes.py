"""A long table of attributes in the layout of Arrow's dense union: one row an attribute, one values array per type.

Rows stay in the order of their owners, so that a selection of rows is ready to become a map column.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

    from otlp.types import BoolColumn, Float64Column, Int32Column, Int64Column, UInt8Column


class ValueType(IntEnum):
    """Which values array holds an attribute's value.

    JSON is the OTLP/JSON text of what has no column of its own: arrays, key-value lists, bytes, and the empty value.
    """

    STRING = 0
    INT = 1
    DOUBLE = 2
    BOOL = 3
    JSON = 4


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of all resources, scopes, spans, events or links of a batch.

    `owner`, `key`, `type` and `slot` have one element an attribute: the owner's row (ascending), the index into `keys`,
    a `ValueType`, and the index into that type's values array.
    """

    keys: list[str]
    owner: Int32Column
    key: Int32Column
    type: UInt8Column
    slot: Int32Column
    strings: pa.StringArray
    ints: Int64Column
    doubles: Float64Column
    bools: BoolColumn
    jsons: pa.StringArray

    def __len__(self) -> int:
        """The number of attributes."""
        return len(self.owner)

    def where(self, rule: Callable[[str], bool]) -> BoolColumn:
        """What `rule` says of each attribute's key; it is asked once for each distinct key."""
        return np.fromiter(map(rule, self.keys), np.bool_, len(self.keys))[self.key]

    def keep(self, mask: BoolColumn) -> Attributes:
        """Only the attributes where `mask` is true. No row leads to the values of the others any more."""
        return replace(self, owner=self.owner[mask], key=self.key[mask], type=self.type[mask], slot=self.slot[mask])

    def of_owners(self, kept: Int32Column, owners: int) -> Attributes:
        """The attributes of the owner rows `kept` (ascending) out of `owners`, renumbered to their places in `kept`."""
        place = np.full(owners, -1, np.int32)
        place[kept] = np.arange(len(kept), dtype=np.int32)
        selected = self.keep(place[self.owner] >= 0)
        return replace(selected, owner=place[selected.owner])

    def text(self, rows: Int32Column) -> pa.StringArray:
        """The values at `rows` as text: numbers in their shortest form, booleans as in JSON, the rest as OTLP/JSON."""
        types, slots = self.type[rows], self.slot[rows]
        if not types.any():
            return self.strings.take(pa.array(slots))
        return pa.array([self._text_of(t, s) for t, s in zip(types.tolist(), slots.tolist(), strict=True)], pa.string())

    def _text_of(self, value_type: int, slot: int) -> str:
        match value_type:
            case ValueType.STRING:
                text = self.strings[slot].as_py()
            case ValueType.INT:
                text = str(self.ints[slot])
            case ValueType.DOUBLE:
                text = repr(float(self.doubles[slot])).removesuffix(".0")
            case ValueType.BOOL:
                text = "true" if self.bools[slot] else "false"
            case _:
                text = self.jsons[slot].as_py()
        return str(text)
