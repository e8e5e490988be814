"""Compares the segments that the spool still keeps with ClickHouse: each of their spans must be there, once."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from exporters.clickhouse.identities import identities
from exporters.clickhouse.rows import SPANS
from gateway.dead_letters import UnreadableError
from gateway.spool.segment import DamagedSegmentError, read_segment
from gateway.spool.spool import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporters.clickhouse.exporter import ClickHouseExporter
    from exporters.clickhouse.identities import Identity
    from gateway.dead_letters import DeadLetters


@dataclass(slots=True)
class Comparison:
    """What a check has found; `waiting` counts identities of segments that are not exported yet."""

    segments: int = 0
    identities: int = 0
    dead_lettered: int = 0
    waiting: int = 0
    missing: list[Identity] = field(default_factory=list)
    doubled: list[Identity] = field(default_factory=list)


def compare(
    directories: list[Path], exporter: ClickHouseExporter, dead_letters: DeadLetters
) -> Iterator[tuple[Path, Comparison]]:
    """Each kept segment of these spools, and what is found up to it; RetryableError if ClickHouse does not answer."""
    found = Comparison()
    dead: set[Identity] = set()
    for letter in dead_letters.letters():
        if letter.table == SPANS:
            with contextlib.suppress(UnreadableError, FileNotFoundError):  # then its spans are missing
                dead |= identities(dead_letters.rows(letter))
    for path in sorted(path for directory in directories for path in _kept(directory)):
        try:
            segment = read_segment(path)
        except (FileNotFoundError, DamagedSegmentError):
            continue  # exported, expired or set aside a moment ago
        wanted = identities(exporter.unpack(pa.Table.from_batches(segment.records, segment.schema)))
        found.segments += 1
        if path.suffix != f".{State.STORED}":
            found.waiting += len(wanted)
        else:
            copies = exporter.count_stored(wanted)
            found.identities += len(wanted)
            found.dead_lettered += len((wanted & dead) - copies.keys())
            found.missing += sorted(wanted - copies.keys() - dead)
            found.doubled += sorted(identity for identity in wanted if copies[identity] > 1)
        yield path, found


def _kept(directory: Path) -> Iterator[Path]:
    for state in (State.SEALED, State.STORED):
        yield from directory.glob(f"*.{state}")
