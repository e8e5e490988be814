"""Segments: what was written is read back, and damage costs what is behind it and nothing else."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.spool.segment import (
    MAGIC,
    VERSION,
    DamagedSegmentError,
    Header,
    read_segment,
    write_record,
    write_start,
)

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = pa.schema([pa.field("Number", pa.int64()), pa.field("Text", pa.string())], {"made": "for tests"})
HEADER = Header(VERSION, "00000000000000000007-ab12cd34", 7)


def batch(*numbers: int) -> pa.RecordBatch:
    """Rows with these numbers, and a text for each."""
    return pa.record_batch([list(numbers), [f"row {number}" for number in numbers]], schema=SCHEMA)


RECORDS = [batch(1, 2, 3), batch(), batch(4), batch(*range(5, 40))]


def segment_bytes(records: list[pa.RecordBatch]) -> tuple[bytes, list[int]]:
    """A segment with these records, and the position at which each thing in it ends: its start, then each record."""
    file = BytesIO()
    ends = [write_start(file, HEADER, SCHEMA)]
    for record in records:
        ends.append(ends[-1] + write_record(file, record.serialize()))
    return file.getvalue(), ends


def framed(payload: bytes) -> bytes:
    """A record as docs/spool.md describes it."""
    return struct.pack("<II", len(payload), zlib.crc32(payload)) + payload


CONTENT, ENDS = segment_bytes(RECORDS)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a test's segment is."""
    return tmp_path_factory.mktemp("segments") / "damaged.sealed"


def assert_read_up_to(path: Path, content: bytes, position: int) -> None:
    """What ends before `position`, where the damage begins, is read; the rest is counted; a hurt start is an error."""
    path.write_bytes(content)
    if position < ENDS[0]:
        with pytest.raises(DamagedSegmentError):
            read_segment(path)
        return
    whole = sum(end <= position for end in ENDS) - 1
    segment = read_segment(path)
    assert segment.header == HEADER
    assert segment.records == RECORDS[:whole]
    assert segment.damaged_bytes == len(content) - ENDS[whole]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Header, schema with its metadata, and records come back as they were written, the empty one too."""
    path = tmp_path / "whole.sealed"
    path.write_bytes(CONTENT)
    segment = read_segment(path)
    assert segment.header == HEADER
    assert segment.schema.equals(SCHEMA, check_metadata=True)
    assert segment.records == RECORDS
    assert segment.rows == 39
    assert segment.damaged_bytes == 0


def test_a_segment_without_records_has_no_rows(path: Path) -> None:
    """A process that ends before its first append leaves a segment that can be read."""
    path.write_bytes(segment_bytes([])[0])
    segment = read_segment(path)
    assert (segment.records, segment.rows, segment.damaged_bytes) == ([], 0, 0)


def test_the_format_is_the_documented_one(path: Path) -> None:
    """The bytes are those of docs/spool.md, and the sizes that the writers return are theirs."""
    text = orjson.dumps({"version": VERSION, "segment": HEADER.segment, "created_at": 7})
    text += b" " * (-len(text) % 8)
    by_hand = [MAGIC + framed(text) + framed(bytes(SCHEMA.serialize()))]
    by_hand += [framed(bytes(record.serialize())) for record in RECORDS]
    assert b"".join(by_hand) == CONTENT
    assert [len(part) for part in by_hand] == [end - start for start, end in zip([0, *ENDS], ENDS, strict=False)]
    path.write_bytes(b"".join(by_hand))
    assert read_segment(path).rows == 39


@given(st.integers(0, len(CONTENT)))
def test_a_cut_costs_only_what_is_behind_it(path: Path, length: int) -> None:
    """However short a segment is cut, the whole records before the cut are read and the rest is counted."""
    assert_read_up_to(path, CONTENT[:length], length)


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_changed_byte_costs_only_what_is_behind_it(path: Path, position: int, change: int) -> None:
    """Whichever byte changes, the records before it are read and the rest is counted."""
    content = bytearray(CONTENT)
    content[position] ^= change
    assert_read_up_to(path, bytes(content), position)


@given(st.binary(min_size=1, max_size=100).filter(lambda tail: tail[:8] != bytes(8)))
def test_bytes_behind_the_last_record_are_counted(path: Path, tail: bytes) -> None:
    """Whatever stands behind the last record is no record, and is counted."""
    assert_read_up_to(path, CONTENT + tail, len(CONTENT))


@pytest.mark.parametrize("size", [1, 7, 8, 4096])
def test_zeros_behind_the_last_record_are_counted(path: Path, size: int) -> None:
    """A file that a power loss left longer than what was written into it ends in zeros: they are damaged bytes."""
    assert_read_up_to(path, CONTENT + bytes(size), len(CONTENT))


@pytest.mark.parametrize(
    "payload", [b"abc", bytes(SCHEMA.serialize()), b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"q" * 30]
)
def test_a_record_that_holds_no_rows_is_damaged(path: Path, payload: bytes) -> None:
    """A payload that passes its check and yet is no record batch is damage, like one that fails it."""
    assert_read_up_to(path, CONTENT + framed(payload) + framed(bytes(batch(99).serialize())), len(CONTENT))


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"TOLLGAT",
        b"tollgate" + CONTENT[8:],
        MAGIC,
        MAGIC + bytes(64),
        MAGIC + framed(b"{}"),
        MAGIC + framed(b"[]") + framed(bytes(SCHEMA.serialize())),
        MAGIC + framed(b"not JSON") + framed(bytes(SCHEMA.serialize())),
        MAGIC + framed(b'{"version": 1, "segment": "s", "created_at": 1}'),
        MAGIC + framed(b'{"version": 1, "segment": "s", "created_at": 1}') + bytes(64),
        MAGIC + framed(b'{"version": 1, "segment": "s", "created_at": 1}') + framed(b"no schema"),
        pytest.param(
            MAGIC + framed(b'{"version": 1, "segment": "s", "created_at": 1}') + framed(bytes(batch(1).serialize())),
        ),
    ],
)
def test_what_does_not_begin_like_a_segment_is_one_error(path: Path, start: bytes) -> None:
    """A file without a readable start is a DamagedSegmentError that names the file, and no other exception."""
    path.write_bytes(start)
    with pytest.raises(DamagedSegmentError, match=r"^damaged\.sealed "):
        read_segment(path)


def test_a_newer_format_is_refused_by_its_version(path: Path) -> None:
    """A segment of a newer Tollgate is refused with both versions, not guessed at."""
    file = BytesIO()
    write_start(file, replace(HEADER, version=VERSION + 1), SCHEMA)
    path.write_bytes(file.getvalue())
    with pytest.raises(DamagedSegmentError) as caught:
        read_segment(path)
    assert str(caught.value) == f"damaged.sealed has format version {VERSION + 1}; this Tollgate reads {VERSION}"


def test_a_missing_file_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    """A file that is not there is the file system's error: nothing is known of what it held."""
    with pytest.raises(FileNotFoundError):
        read_segment(tmp_path / "nowhere.sealed")
