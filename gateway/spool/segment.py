"""The file format of a segment: a magic text, then records, each with its length and CRC-32.

The first record is a header (JSON), the second the Arrow schema, every other one an Arrow record batch of rows.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO

import orjson
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"TOLLGATE"
VERSION = 1
_PREFIX = struct.Struct("<II")
_ALIGNMENT = 8
_NOT_ARROW = (pa.ArrowInvalid, EOFError, OSError)
"""What Arrow raises for bytes that pass our check and yet are no message; zeros, for one, are an empty record."""


class DamagedSegmentError(Exception):
    """A segment cannot be read at all: its magic, version, header or schema is not what it must be."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself; `created_at` is nanoseconds since 1970, UTC."""

    version: int
    segment: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as read: its rows, record by record, and how many bytes at its end could not be read."""

    header: Header
    schema: pa.Schema
    records: list[pa.RecordBatch]
    damaged_bytes: int

    @property
    def rows(self) -> int:
        """The number of rows in all records."""
        return sum(record.num_rows for record in self.records)


def write_start(file: BinaryIO, header: Header, schema: pa.Schema) -> int:
    """Write what every segment begins with; return its size in bytes."""
    text = orjson.dumps(asdict(header))
    text += b" " * (-len(text) % _ALIGNMENT)
    return file.write(MAGIC) + write_record(file, text) + write_record(file, schema.serialize())


def write_record(file: BinaryIO, payload: bytes | pa.Buffer) -> int:
    """Append one record; return its size in bytes."""
    return file.write(_PREFIX.pack(len(payload), zlib.crc32(payload))) + file.write(payload)


def read_segment(path: Path) -> Segment:
    """Read a whole segment; a record that fails its check, and all behind it, count as damaged bytes."""
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise DamagedSegmentError(f"{path.name} does not begin like a segment")
    records = _records(memoryview(content))
    try:
        end, text = next(records)
        document = orjson.loads(text)
        end, schema_message = next(records)
        if document["version"] != VERSION:
            found = f"{path.name} has format version {document['version']}"
            raise DamagedSegmentError(f"{found}; this Tollgate reads {VERSION}")
        header = Header(**document)
        schema = pa.ipc.read_schema(pa.py_buffer(schema_message))
    except (StopIteration, orjson.JSONDecodeError, TypeError, KeyError, *_NOT_ARROW) as error:
        raise DamagedSegmentError(f"{path.name} has no readable header") from error
    batches = []
    for record_end, payload in records:
        try:
            batches.append(pa.ipc.read_record_batch(pa.py_buffer(payload), schema))
        except _NOT_ARROW:
            break
        end = record_end
    return Segment(header, schema, batches, damaged_bytes=len(content) - end)


def _records(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Each whole record's end and payload, up to the first that is cut short or fails its check."""
    position = len(MAGIC)
    while position + _PREFIX.size <= len(content):
        length, checksum = _PREFIX.unpack_from(content, position)
        end = position + _PREFIX.size + length
        payload = content[position + _PREFIX.size : end]
        if len(payload) < length or zlib.crc32(payload) != checksum:
            return
        yield end, payload
        position = end
