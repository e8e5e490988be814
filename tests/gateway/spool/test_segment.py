"""Segments: what was written is read back, and damage costs the records that it hits and nothing else."""

from __future__ import annotations

import hashlib
import struct
import zlib
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
    Kind,
    read_segment,
    read_tally,
    write_record,
    write_start,
    write_tally,
)
from gateway.spool.tally import ACCEPTED, RECEIVED, Tally

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = pa.schema([pa.field("Number", pa.int64()), pa.field("Text", pa.string())], {"made": "for tests"})
HEADER = Header("00000000000000000007-ab12cd34", 7)


def batch(*numbers: int) -> pa.RecordBatch:
    """Rows with these numbers, and a text for each."""
    return pa.record_batch([list(numbers), [f"row {number}" for number in numbers]], schema=SCHEMA)


def receipts(accepted: int) -> Tally:
    """So many accepted spans of destination default."""
    tally = Tally()
    tally.add("default", RECEIVED, accepted)
    tally.add("default", ACCEPTED, accepted)
    return tally


BATCHES = [batch(1, 2, 3), batch(4), batch(*range(5, 40))]


def segment_bytes(batches: list[pa.RecordBatch], *, ended: bool) -> tuple[bytes, list[int]]:
    """A segment with these batches, and the positions at which its records end: start, then receipts, rows, ..."""
    file = BytesIO()
    ends = [write_start(file, HEADER, SCHEMA)]
    total = Tally()
    for each in batches:
        tally = receipts(each.num_rows)
        total.update(tally)
        ends.append(ends[-1] + write_tally(file, HEADER, Kind.RECEIPTS, tally))
        ends.append(ends[-1] + write_record(file, HEADER, Kind.ROWS, each.serialize()))
    if ended:
        ends.append(ends[-1] + write_tally(file, HEADER, Kind.END, total))
    return file.getvalue(), ends


OPEN, OPEN_ENDS = segment_bytes(BATCHES, ended=False)
WHOLE, WHOLE_ENDS = segment_bytes(BATCHES, ended=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a test's segment is."""
    return tmp_path_factory.mktemp("segments") / f"{HEADER.segment}.sealed"


def accepted(path: Path) -> int:
    """How many spans a segment says were accepted, which both ways of reading it agree on."""
    tally = read_segment(path).tally
    assert read_tally(path).dump() == tally.dump()
    return tally.total(ACCEPTED)


def test_what_is_written_is_read(path: Path) -> None:
    """Header, schema with its metadata, records and counts come back as they were written."""
    path.write_bytes(WHOLE)
    segment = read_segment(path)
    assert segment.header == HEADER
    assert segment.schema.equals(SCHEMA, check_metadata=True)
    assert segment.records == BATCHES
    assert segment.rows == accepted(path) == 39
    assert (segment.damage, segment.torn) == ([], 0)


def test_a_segment_without_records_has_no_rows(path: Path) -> None:
    """A process that ends before its first append leaves a segment that can be read."""
    path.write_bytes(segment_bytes([], ended=False)[0])
    segment = read_segment(path)
    assert (segment.records, segment.rows, accepted(path), segment.damage, segment.torn) == ([], 0, 0, [], 0)


def test_the_format_is_the_documented_one() -> None:
    """The bytes are those of docs/spool.md, and the sizes that the writers return are theirs."""
    mark = hashlib.sha256(HEADER.segment.encode()).digest()[:8]

    def framed(kind: int, payload: bytes) -> bytes:
        crc = zlib.crc32(struct.pack("<II", kind, len(payload)) + payload)
        return mark + struct.pack("<IIII", kind, len(payload), crc, 0) + payload + bytes(-len(payload) % 8)

    text = orjson.dumps({"segment": HEADER.segment, "created_at": 7})
    start = b"TOLLGATE" + struct.pack("<Q", 2) + framed(1, text) + framed(2, bytes(SCHEMA.serialize()))
    by_hand = [start]
    for each in BATCHES:
        counts = {"default": {"received": each.num_rows, "accepted": each.num_rows}}
        by_hand += [framed(3, orjson.dumps(counts)), framed(4, bytes(each.serialize()))]
    by_hand.append(framed(5, orjson.dumps({"default": {"received": 39, "accepted": 39}})))
    assert b"".join(by_hand) == WHOLE
    assert [len(part) for part in by_hand] == [
        end - begin for begin, end in zip([0, *WHOLE_ENDS], WHOLE_ENDS, strict=False)
    ]


@given(st.integers(0, len(OPEN)))
def test_a_cut_costs_only_what_is_behind_it(path: Path, length: int) -> None:
    """However short a segment is cut by a crash, what was acknowledged before is read, and no more is counted."""
    path.write_bytes(OPEN[:length])
    if length < OPEN_ENDS[0]:
        with pytest.raises(DamagedSegmentError):
            read_segment(path)
        assert read_tally(path).total(ACCEPTED) == 0
        return
    # The last bytes of a record may be padding.
    whole = sum(end - 8 < length for end in OPEN_ENDS[2::2])
    segment = read_segment(path)
    assert segment.records in (BATCHES[:whole], BATCHES[: max(whole - 1, 0)])
    assert segment.rows == accepted(path)
    assert segment.damage == []


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_costs_only_the_record_that_has_it(path: Path, position: int, change: int) -> None:
    """Whichever byte changes, all other rows are read, and it is known how many spans are missing."""
    content = bytearray(WHOLE)
    content[position] ^= change
    path.write_bytes(bytes(content))
    if position < WHOLE_ENDS[0]:
        try:
            segment = read_segment(path)
        except DamagedSegmentError:
            assert read_tally(path).total(ACCEPTED) == 39
            return
    else:
        segment = read_segment(path)
    hit = next(number for number, end in enumerate(WHOLE_ENDS) if position < end)
    spared = [each for number, each in enumerate(BATCHES) if hit != 2 * number + 2]
    # A byte of padding, or of the prefix's last field, is nobody's.
    assert segment.records in (spared, BATCHES)
    assert accepted(path) == 39
    assert segment.damage == [] or len(segment.damage) == 1
    assert segment.torn == 0 or hit == len(WHOLE_ENDS) - 1


@given(st.lists(st.integers(0, 2), unique=True, max_size=2), st.binary(min_size=1, max_size=100))
def test_several_damaged_records_are_passed_over(path: Path, hits: list[int], garbage: bytes) -> None:
    """Each record whose middle is overwritten is left out, the others are read, and the damage is told in bytes."""
    content = bytearray(WHOLE)
    for hit in hits:
        start, stop = WHOLE_ENDS[2 * hit + 1], WHOLE_ENDS[2 * hit + 2]
        middle = (start + stop) // 2
        content[middle : min(middle + len(garbage), stop)] = garbage[: stop - middle]
        content[start] ^= 1
    path.write_bytes(bytes(content))
    segment = read_segment(path)
    assert segment.records == [each for number, each in enumerate(BATCHES) if number not in hits]
    assert sum(stop - start for start, stop in segment.damage) == sum(
        WHOLE_ENDS[2 * hit + 2] - WHOLE_ENDS[2 * hit + 1] for hit in hits
    )
    assert accepted(path) == 39


def test_a_record_that_stands_in_a_sender_s_text_is_not_taken_for_one(path: Path) -> None:
    """Whoever sends the bytes of a record cannot have them read when the record around them is damaged."""
    forged = BytesIO()
    write_record(forged, Header("another-segment", 1), Kind.ROWS, batch(666).serialize())
    file = BytesIO()
    write_start(file, HEADER, SCHEMA)
    start = file.tell()
    write_record(file, HEADER, Kind.ROWS, b"..." + forged.getvalue())
    write_record(file, HEADER, Kind.ROWS, batch(1).serialize())
    content = bytearray(file.getvalue())
    content[start + 24] ^= 1
    path.write_bytes(bytes(content))
    assert read_segment(path).records == [batch(1)]


@given(st.binary(min_size=1, max_size=100))
def test_a_write_that_was_cut_off_is_no_damage(path: Path, tail: bytes) -> None:
    """What stands behind the last record of a segment that was not ended is a write that nobody was told of."""
    path.write_bytes(OPEN + tail)
    segment = read_segment(path)
    assert (segment.records, segment.damage, segment.torn) == (BATCHES, [], len(tail))


def test_rows_at_the_end_that_were_written_whole_are_damaged_and_not_cut_off(path: Path) -> None:
    """The last rows of a segment that a crash has left were acknowledged if they are complete: they are missed."""
    content = bytearray(OPEN)
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    segment = read_segment(path)
    assert (segment.records, segment.torn) == (BATCHES[:-1], 0)
    assert segment.damage == [(OPEN_ENDS[-2], OPEN_ENDS[-1])]
    assert accepted(path) == 39


@pytest.mark.parametrize("size", [1, 7, 8, 4096])
def test_zeros_behind_the_last_record_are_a_write_that_was_cut_off(path: Path, size: int) -> None:
    """A file that a power loss left longer than what was written into it ends in zeros."""
    path.write_bytes(OPEN + bytes(size))
    assert read_segment(path).torn == size


def test_receipts_without_their_rows_were_given_to_nobody(path: Path) -> None:
    """A crash between the receipts and the rows leaves no span that counts as accepted."""
    path.write_bytes(OPEN[: OPEN_ENDS[3]])
    assert accepted(path) == 3


@pytest.mark.parametrize(
    "payload", [b"abc", bytes(SCHEMA.serialize()), b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"q" * 30]
)
def test_a_record_that_holds_no_rows_is_damaged(path: Path, payload: bytes) -> None:
    """A payload that passes its check and yet is no record batch is damage, like one that fails it."""
    file = BytesIO(OPEN)
    file.seek(0, 2)
    write_record(file, HEADER, Kind.ROWS, payload)
    write_record(file, HEADER, Kind.ROWS, batch(99).serialize())
    path.write_bytes(file.getvalue())
    segment = read_segment(path)
    assert segment.records == [*BATCHES, batch(99)]
    assert [start for start, _ in segment.damage] == [len(OPEN)]


def started(header: bytes, schema: bytes) -> bytes:
    """A segment with nothing but these two records."""
    file = BytesIO()
    file.write(MAGIC)
    write_record(file, HEADER, Kind.HEADER, header)
    write_record(file, HEADER, Kind.SCHEMA, schema)
    return file.getvalue()


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"TOLLGAT",
        b"tollgate" + WHOLE[8:],
        MAGIC,
        MAGIC + bytes(64),
        started(b"[]", bytes(SCHEMA.serialize())),
        started(b"{}", bytes(SCHEMA.serialize())),
        started(b"not JSON", bytes(SCHEMA.serialize())),
        started(b'{"segment": "s", "created_at": 1}', b"no schema"),
        started(b'{"segment": "s", "created_at": 1}', bytes(batch(1).serialize())),
    ],
)
def test_what_does_not_begin_like_a_segment_is_one_error(path: Path, start: bytes) -> None:
    """A file without a readable start is a DamagedSegmentError that names the file, and no other exception."""
    path.write_bytes(start)
    with pytest.raises(DamagedSegmentError, match=rf"^{path.name} "):
        read_segment(path)


def test_a_newer_format_is_refused_by_its_version(path: Path) -> None:
    """A segment of a newer Tollgate is refused with both versions, not guessed at."""
    path.write_bytes(WHOLE.replace(MAGIC, b"TOLLGATE" + struct.pack("<Q", VERSION + 1)))
    with pytest.raises(DamagedSegmentError) as caught:
        read_segment(path)
    assert str(caught.value) == f"{path.name} has format version {VERSION + 1}; this Tollgate reads {VERSION}"


def test_a_missing_file_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    """A file that is not there is the file system's error: nothing is known of what it held."""
    with pytest.raises(FileNotFoundError):
        read_segment(tmp_path / "nowhere.sealed")
