"""The file format of a segment: a magic text, then records, each with a mark, its kind, its length and a CRC-32.

The mark differs from segment to segment and cannot be guessed by a sender, so that the next whole record can be found
behind a damaged one. The format is described in docs/spool.md.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
import pyarrow as pa

from gateway.spool.tally import ACCEPTED, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 2
MAGIC = b"TOLLGATE" + struct.pack("<Q", VERSION)
_PREFIX = struct.Struct("<8sIIII")
_CHECKED = struct.Struct("<II")
_ALIGNMENT = 8
_NOT_ARROW = (pa.ArrowInvalid, EOFError, OSError)
"""What Arrow raises for bytes that pass our check and yet are no message; zeros, for one, are an empty record."""


class Kind(IntEnum):
    """What a record's payload is."""

    HEADER = 1
    SCHEMA = 2
    RECEIPTS = 3
    ROWS = 4
    END = 5


class DamagedSegmentError(Exception):
    """A segment cannot be read at all: its magic, version, header or schema is not what it must be."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself; `created_at` is nanoseconds since 1970, UTC."""

    segment: str
    created_at: int

    @property
    def mark(self) -> bytes:
        """What each of its records begins with."""
        return _mark(self.segment)


@dataclass(slots=True)
class Segment:
    """A segment as read.

    `tally` says what was accepted and rejected with it, also of what cannot be read any more, as far as that is known.
    `damage` has the ranges of bytes that are no records, `torn` how many bytes at the end are a write that was cut off.
    """

    header: Header
    schema: pa.Schema
    records: list[pa.RecordBatch] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    damage: list[tuple[int, int]] = field(default_factory=list)
    torn: int = 0

    @property
    def identity(self) -> str:
        """The segment's name, and with it the damage if there is any: which row has which number depends on it."""
        if not self.damage and not self.torn:
            return self.header.segment
        return f"{self.header.segment}/{self.damage}/{self.torn}"

    @property
    def rows(self) -> int:
        """The number of rows in all records."""
        return sum(record.num_rows for record in self.records)


@dataclass(frozen=True, slots=True)
class _Record:
    kind: int
    payload: memoryview
    start: int
    end: int
    is_whole: bool = True


def write_start(file: BinaryIO, header: Header, schema: pa.Schema) -> int:
    """Write what every segment begins with; return its size in bytes."""
    size = file.write(MAGIC)
    size += write_record(file, header, Kind.HEADER, orjson.dumps(asdict(header)))
    return size + write_record(file, header, Kind.SCHEMA, schema.serialize())


def write_record(file: BinaryIO, header: Header, kind: Kind, payload: bytes | pa.Buffer) -> int:
    """Append one record; return its size in bytes."""
    length = len(payload)
    crc = _checksum(kind, payload)
    size = file.write(_PREFIX.pack(header.mark, kind, length, crc, 0)) + file.write(payload)
    return size + file.write(bytes(-length % _ALIGNMENT))


def write_tally(file: BinaryIO, header: Header, kind: Kind, tally: Tally) -> int:
    """Append a record of counts; return its size in bytes."""
    return write_record(file, header, kind, orjson.dumps(tally.dump()))


def read_segment(path: Path) -> Segment:
    """Read a whole segment, record by record; what is damaged is passed over, and told.

    DamagedSegmentError if its start is not readable: without the schema nothing behind it is.
    """
    content = path.read_bytes()
    found, damage = _scan(content, _mark(path.stem))
    segment = _begin(path, content, found)
    segment.tally, segment.damage = _tally_of(found), damage
    for record in found:
        if record.kind == Kind.ROWS and record.is_whole:
            try:
                segment.records.append(pa.ipc.read_record_batch(pa.py_buffer(record.payload), segment.schema))
            except _NOT_ARROW:
                segment.damage.append((record.start, record.end))
    if found[-1].kind != Kind.END and damage and damage[-1][0] >= found[-1].end:
        start, stop = damage.pop()
        segment.torn = stop - start
    damage.sort()
    return segment


def read_tally(path: Path) -> Tally:
    """What was accepted and rejected with a segment, as far as it is known of a damaged one; its rows are not read."""
    with path.open("rb") as file:
        records = _skim(file, _mark(path.stem))
    return _tally_of(_scan(path.read_bytes(), _mark(path.stem))[0] if records is None else records)


def _skim(file: BinaryIO, mark: bytes) -> list[_Record] | None:
    """The records of counts, and those of rows without their payload; None if the file is not as it should be."""
    size = os.fstat(file.fileno()).st_size
    records: list[_Record] = []
    if file.read(len(MAGIC)) != MAGIC:
        return None
    while (start := file.tell()) + _PREFIX.size <= size:
        found_mark, kind, length, crc, _ = _PREFIX.unpack(file.read(_PREFIX.size))
        end = start + _PREFIX.size + length
        if found_mark != mark or end > size:
            return None
        payload = file.read(length) if kind in {Kind.RECEIPTS, Kind.END} else b""
        if payload and _checksum(kind, payload) != crc:
            return None
        records.append(_Record(kind, memoryview(payload), start, end))
        file.seek(end + -length % _ALIGNMENT)
    return records


def _tally_of(records: list[_Record]) -> Tally:
    """What the end says, or the sum of the receipts but for the last if its rows were not written whole."""
    tally, pending = Tally(), Tally()
    for record in records:
        match record.kind:
            case Kind.RECEIPTS:
                tally.update(pending)
                pending = _tally(record)
            case Kind.ROWS:
                tally.update(pending)
                pending = Tally()
            case Kind.END:
                return _tally(record)
    if not pending.total(ACCEPTED):
        tally.update(pending)
    return tally


def _checksum(kind: int, payload: bytes | memoryview | pa.Buffer) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(kind, len(payload))))


def _mark(segment: str) -> bytes:
    return hashlib.sha256(segment.encode()).digest()[:8]


def _tally(record: _Record) -> Tally:
    return Tally.load(orjson.loads(record.payload))


def _begin(path: Path, content: bytes, found: list[_Record]) -> Segment:
    if not content.startswith(MAGIC[:8]):
        raise DamagedSegmentError(f"{path.name} does not begin like a segment")
    if not content.startswith(MAGIC):
        version = int.from_bytes(content[8:16], "little")
        raise DamagedSegmentError(f"{path.name} has format version {version}; this Tollgate reads {VERSION}")
    if [record.kind for record in found[:2]] != [Kind.HEADER, Kind.SCHEMA]:
        raise DamagedSegmentError(f"{path.name} has no readable header")
    try:
        document: dict[str, Any] = orjson.loads(found[0].payload)
        return Segment(Header(**document), pa.ipc.read_schema(pa.py_buffer(found[1].payload)))
    except (orjson.JSONDecodeError, TypeError, *_NOT_ARROW) as error:
        raise DamagedSegmentError(f"{path.name} has no readable header") from error


def _scan(content: bytes, mark: bytes) -> tuple[list[_Record], list[tuple[int, int]]]:
    """The records of a segment, and the ranges that are none or are damaged."""
    records, damage = [], []
    end = len(MAGIC)
    for record in _records(content, mark):
        if record.start > end:
            damage.append((end, record.start))
        if not record.is_whole:
            damage.append((record.start, record.end))
        records.append(record)
        end = record.end
    if end < len(content):
        damage.append((end, len(content)))
    return records, damage


def _records(content: bytes, mark: bytes) -> Iterator[_Record]:
    """Each whole record, and rows that are damaged within; behind anything else the search goes on at the next mark."""
    view = memoryview(content)
    position = len(MAGIC)
    while position + _PREFIX.size <= len(content):
        found_mark, kind, length, crc, _ = _PREFIX.unpack_from(content, position)
        start = position + _PREFIX.size
        payload = view[start : start + length]
        end = min(start + length + -length % _ALIGNMENT, len(content))
        is_complete = found_mark == mark and len(payload) == length
        is_whole = is_complete and _checksum(kind, payload) == crc
        is_followed = end == len(content) or content[end : end + len(mark)] == mark
        if is_whole or (is_complete and kind == Kind.ROWS and is_followed):
            yield _Record(kind, payload, position, end, is_whole)
            position = end
        else:
            position = content.find(mark, position + 1)
            if position < 0:
                return
