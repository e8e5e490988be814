"""Cuts a sealed segment into insert units, once and for ever: the cut is written beside the segment before it is used.

A unit is what one INSERT carries: rows of one table and one partition. Its deduplication token depends only on the
segment and the unit's number, so that ClickHouse recognises a unit that is sent again.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import orjson

from gateway.spool.durable import write_durably

if TYPE_CHECKING:
    from pathlib import Path

    from otlp.types import Int64Column

MAX_ROWS = 100_000
MAX_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows of one table and partition: half-open ranges of row numbers within the segment."""

    number: int
    table: str
    partition: str
    ranges: list[tuple[int, int]]

    @property
    def rows(self) -> int:
        """How many rows it carries."""
        return sum(stop - start for start, stop in self.ranges)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where rows of a segment belong: their numbers, the months they fall into (since 1970), their sizes in bytes."""

    table: str
    rows: Int64Column
    months: Int64Column
    sizes: np.ndarray


def token(segment: str, unit: Unit) -> str:
    """The unit's deduplication token."""
    return hashlib.sha256(f"{segment}/{unit.number}".encode()).hexdigest()


def cut(placements: list[Placement]) -> list[Unit]:
    """The units of a segment, table by table in the given order."""
    units: list[Unit] = []
    for placement in placements:
        for month in np.unique(placement.months).tolist():
            selected = placement.months == month
            rows = placement.rows[selected]
            bounds = _bounds(placement.sizes[selected])
            partition = str(np.datetime64(month, "M")).replace("-", "")
            for start, stop in bounds:
                units.append(Unit(len(units), placement.table, partition, _ranges(rows[start:stop])))
    return units


def load_or_cut(path: Path, segment: str, placements: list[Placement]) -> list[Unit]:
    """The segment's units as they were cut at first; cut and written down durably if this is the first time.

    A cut is written before any unit is sent, so one that cannot be read was never used. `segment` is the segment's
    identity: one that was damaged since has another, because its rows have other numbers.
    """
    if path.exists():
        try:
            document = orjson.loads(path.read_bytes())
            content = document["units"]
            if document["segment"] == segment and document["sha256"] == _digest(content):
                return [Unit(**{**unit, "ranges": [tuple(r) for r in unit["ranges"]]}) for unit in content]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            pass
    units = cut(placements)
    content = orjson.loads(orjson.dumps([asdict(unit) for unit in units]))
    document = {"segment": segment, "sha256": _digest(content), "units": content}
    write_durably(path, orjson.dumps(document))
    return units


def _digest(content: object) -> str:
    return hashlib.sha256(orjson.dumps(content)).hexdigest()


def _bounds(sizes: np.ndarray) -> list[tuple[int, int]]:
    """Positions between which no more than MAX_ROWS rows and (but for a single row) MAX_BYTES bytes lie."""
    bounds, start = [], 0
    totals = np.concatenate(([0.0], np.cumsum(sizes)))
    while start < len(sizes):
        fits = int(np.searchsorted(totals, totals[start] + MAX_BYTES, side="right")) - 1
        stop = min(max(fits, start + 1), start + MAX_ROWS, len(sizes))
        bounds.append((start, stop))
        start = stop
    return bounds


def _ranges(rows: Int64Column) -> list[tuple[int, int]]:
    """Ascending row numbers as half-open ranges."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    firsts = rows[np.concatenate(([0], breaks))]
    lasts = rows[np.concatenate((breaks - 1, [len(rows) - 1]))]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]
