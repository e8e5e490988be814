"""Names for the numpy columns that the data model is made of, and the column that may have nulls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

BoolColumn: TypeAlias = npt.NDArray[np.bool_]
UInt8Column: TypeAlias = npt.NDArray[np.uint8]
UInt32Column: TypeAlias = npt.NDArray[np.uint32]
UInt64Column: TypeAlias = npt.NDArray[np.uint64]
Int32Column: TypeAlias = npt.NDArray[np.int32]
Int64Column: TypeAlias = npt.NDArray[np.int64]
Float64Column: TypeAlias = npt.NDArray[np.float64]
TextColumn: TypeAlias = npt.NDArray[np.object_]
"""Text, one `str` an element. Batches are often three spans long, and an Arrow kernel costs ten times as much to call
as numpy does; texts become Arrow once, all columns together, when rows are encoded."""


@dataclass(frozen=True, slots=True)
class NullableColumn:
    """Numbers of which some are unknown: what `values` holds where `valid` is false means nothing.

    US dollars are held as whole units of 10^-12 dollars (int64), so that sums and products are exact.
    """

    values: npt.NDArray[np.uint64] | npt.NDArray[np.int64] | npt.NDArray[np.float64]
    valid: BoolColumn

    def copy(self) -> NullableColumn:
        """A column of its own, free to be changed."""
        return NullableColumn(self.values.copy(), self.valid.copy())

    def __getitem__(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int32]) -> NullableColumn:
        """The given rows."""
        return NullableColumn(self.values[rows], self.valid[rows])


Column: TypeAlias = TextColumn | BoolColumn | Int64Column | NullableColumn


def texts(values: list[str]) -> TextColumn:
    """A text column."""
    return np.array(values, np.object_)
