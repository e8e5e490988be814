"""A long table of attributes in the layout of Arrow's dense union: one row an attribute, one values array per type.

Rows stay in the order of their owners, so that a selection of rows is ready to become a map column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otlp.types import BoolColumn, Float64Column, Int32Column, Int64Column, TextColumn, UInt8Column

# Which values array holds an attribute's value. Plain numbers: an enum's members cost a look-up each time.
STRING = 0
INT = 1
DOUBLE = 2
BOOL = 3
JSON = 4
"""The OTLP/JSON text of what has no column of its own: arrays, key-value lists, bytes, and the empty value."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of all resources, scopes, spans, events or links of a batch.

    `owner`, `key`, `type` and `slot` have one element an attribute: the owner's row (ascending), the index into `keys`,
    a value type, and the index into that type's values array.
    """

    keys: list[str]
    owner: Int32Column
    key: Int32Column
    type: UInt8Column
    slot: Int32Column
    strings: TextColumn
    ints: Int64Column
    doubles: Float64Column
    bools: BoolColumn
    jsons: TextColumn

    def __len__(self) -> int:
        """The number of attributes."""
        return len(self.owner)

    def where(self, rule: Mapping[str, bool]) -> BoolColumn:
        """What `rule` says of each attribute's key."""
        return np.fromiter(map(rule.__getitem__, self.keys), np.bool_, len(self.keys))[self.key]

    def keep(self, mask: BoolColumn) -> Attributes:
        """Only the attributes where `mask` is true. No row leads to the values of the others any more."""
        return replace(self, owner=self.owner[mask], key=self.key[mask], type=self.type[mask], slot=self.slot[mask])

    def of_owners(self, kept: Int32Column, owners: int) -> Attributes:
        """The attributes of the owner rows `kept` (ascending) out of `owners`, renumbered to their places in `kept`."""
        place = np.full(owners, -1, np.int32)
        place[kept] = np.arange(len(kept), dtype=np.int32)
        selected = self.keep(place[self.owner] >= 0)
        return replace(selected, owner=place[selected.owner])

    def repeated(self, owners: Int32Column) -> Attributes:
        """The attributes as they are when owner `owners[i]`'s become those of a new owner `i`."""
        if len(owners) and len(owners) == self.owner[-1] + 1 and (owners == np.arange(len(owners))).all():
            return self
        starts = np.searchsorted(self.owner, owners)
        counts = np.searchsorted(self.owner, owners, side="right") - starts
        new_owner = np.repeat(np.arange(len(owners), dtype=np.int32), counts)
        rows = np.arange(len(new_owner)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return replace(self, owner=new_owner, key=self.key[rows], type=self.type[rows], slot=self.slot[rows])

    def text(self, rows: Int32Column) -> TextColumn:
        """The values at `rows` as text: numbers in their shortest form, booleans as in JSON, the rest as OTLP/JSON."""
        types, slots = self.type[rows], self.slot[rows]
        if not types.any():
            return self.strings[slots]
        text = np.empty(len(rows), np.object_)
        for value_type in np.bincount(types).nonzero()[0].tolist():
            selected = types == value_type
            text[selected] = self._text_of(value_type, slots[selected])
        return text

    def _text_of(self, value_type: int, slots: Int32Column) -> TextColumn | list[str]:
        if value_type == STRING:
            return self.strings[slots]
        if value_type == INT:
            return [str(number) for number in self.ints[slots].tolist()]
        if value_type == DOUBLE:
            return [repr(number).removesuffix(".0") for number in self.doubles[slots].tolist()]
        if value_type == BOOL:
            return ["true" if value else "false" for value in self.bools[slots].tolist()]
        return self.jsons[slots]


def json_double(number: float) -> float | str:
    """A double as OTLP/JSON writes it: JSON has no numbers that are not finite."""
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
