"""The ledger: what became of every span, over all runs, each counted once."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from gateway.ledger import DamagedLedgerError, Ledger, read_ledger
from gateway.spool.segment import Header, Kind, write_record, write_start, write_tally
from gateway.spool.tally import ACCEPTED, DAMAGED, DEAD_LETTERED, RECEIVED, STORED, Tally, rejected_for

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = pa.schema([pa.field("Number", pa.int64())])


def tally(**counts: int) -> Tally:
    """Counts of destination default."""
    made = Tally()
    for entry, count in counts.items():
        made.add("default", entry, count)
    return made


def write_segment(directory: Path, name: str, accepted: int) -> Path:
    """A sealed segment that was left by a crash, with so many rows."""
    file = BytesIO()
    header = Header(name, 1)
    write_start(file, header, SCHEMA)
    write_tally(file, header, Kind.RECEIPTS, tally(received=accepted + 1, accepted=accepted))
    write_record(file, header, Kind.ROWS, pa.record_batch([range(accepted)], schema=SCHEMA).serialize())
    path = directory / f"{name}.sealed"
    path.write_bytes(file.getvalue())
    return path


class Seen:
    """What a ledger tells, added up."""

    def __init__(self, directory: Path) -> None:
        self.tally = Tally()
        self.ledger = Ledger(directory, self.tally.update)

    def __getitem__(self, entry: str) -> int:
        return self.tally.of("default", entry)


def assert_closes(seen: Seen, in_spool: int) -> None:
    """Both equations hold."""
    assert seen[RECEIVED] == seen[ACCEPTED] + seen.tally.rejected("default")
    assert seen.tally.in_spool("default") == in_spool


def test_what_is_settled_stays_so_over_restarts(tmp_path: Path) -> None:
    """Stored and dead-lettered spans are known to the next run, and their segment counts once however often."""
    path = write_segment(tmp_path, "a", 10)
    seen = Seen(tmp_path)
    assert (seen[ACCEPTED], seen.tally.in_spool("default")) == (10, 10)
    known = tally(received=11, accepted=10)
    known.add("default", rejected_for("invalid"), 1)
    for _ in range(2):
        seen.ledger.settle(path, known, tally(stored=9, dead_lettered=1))
    assert_closes(again := Seen(tmp_path), 0)
    assert (again[STORED], again[DEAD_LETTERED], again[ACCEPTED]) == (9, 1, 10)
    # The same segment, sent once more after an unclean end, is not counted again, by this run or the next.
    again.ledger.settle(path, known, tally(stored=10))
    assert Seen(tmp_path)[STORED] == again[STORED] == 9


def test_what_a_crash_leaves_is_in_the_spool(tmp_path: Path) -> None:
    """What segments on disk say they accepted is in the spool, without reading their rows twice."""
    write_segment(tmp_path, "a", 3)
    write_segment(tmp_path, "b", 4).rename(tmp_path / "b.open")
    seen = Seen(tmp_path)
    assert seen.tally.in_spool("default") == 7
    seen.ledger.took(tally(received=5, accepted=5))
    assert seen.tally.in_spool("default") == 12


def test_rows_that_cannot_be_read_are_damaged(tmp_path: Path) -> None:
    """What a segment accepted and does not give back is counted as damaged, so that the ledger closes."""
    path = write_segment(tmp_path, "a", 10)
    seen = Seen(tmp_path)
    seen.ledger.settle(path, tally(received=10, accepted=10), tally(stored=7))
    assert seen[DAMAGED] == 3
    assert seen.tally.in_spool("default") == 0


def test_what_became_unreadable_since_the_start_is_damaged(tmp_path: Path) -> None:
    """A segment that says less of itself when it is exported than at the start has lost what it does not say."""
    path = write_segment(tmp_path, "a", 10)
    seen = Seen(tmp_path)
    seen.ledger.settle(path, tally(received=4, accepted=4), tally(stored=4))
    assert (seen[ACCEPTED], seen[STORED], seen[DAMAGED], seen.tally.in_spool("default")) == (10, 4, 6, 0)
    assert Seen(tmp_path)[DAMAGED] == 6


def test_rows_whose_receipts_cannot_be_read_are_counted_by_themselves(tmp_path: Path) -> None:
    """Rows of a segment that lost its counts are accepted and received all the same."""
    path = write_segment(tmp_path, "a", 0)
    seen = Seen(tmp_path)
    seen.ledger.settle(path, Tally(), tally(stored=7))
    assert (seen[ACCEPTED], seen[STORED]) == (7, 7)
    assert_closes(Seen(tmp_path), 0)


def test_segments_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    """The list of settled segments does not grow for ever."""
    seen = Seen(tmp_path)
    for number in range(20):
        path = write_segment(tmp_path, str(number), 1)
        seen.ledger.settle(path, tally(received=1, accepted=1), tally(stored=1))
        path.unlink()
    assert (tmp_path / "ledger.json").stat().st_size < 500
    assert Seen(tmp_path)[STORED] == 20


def test_a_ledger_that_is_not_readable_is_set_aside(tmp_path: Path) -> None:
    """A damaged file stops nothing: it is kept for a person to see, and counting begins anew; a reader is told."""
    (tmp_path / "ledger.json").write_text("{")
    with pytest.raises(DamagedLedgerError, match=r"ledger\.json is not a ledger"):
        read_ledger([tmp_path])
    assert not Seen(tmp_path).tally
    assert (tmp_path / "ledger.damaged").read_text() == "{"


def test_a_reader_sees_all_spools_together(tmp_path: Path) -> None:
    """The ledgers of several spools are one, of what is settled and of what is not."""
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        path = write_segment(tmp_path / name, "settled", 3)
        Ledger(tmp_path / name, lambda _: None).settle(path, tally(received=3, accepted=3), tally(stored=3))
        write_segment(tmp_path / name, "waiting", 2)
    read = read_ledger([tmp_path / "0", tmp_path / "1"])
    assert (read.total(STORED), read.total(ACCEPTED), read.in_spool("default")) == (6, 10, 4)
