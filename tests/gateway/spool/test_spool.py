"""The spool: what it acknowledged is on disk, whatever ends the process, and is handed out until it is stored."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pyarrow as pa
import pytest

import gateway
from gateway.spool.segment import Segment, read_segment
from gateway.spool.spool import Spool, SpoolLimits
from gateway.spool.tally import ACCEPTED, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCHEMA = pa.schema([pa.field("Number", pa.int64())])
START = 1_767_323_045_000_000_000
RETAIN = 600.0
SECOND = 1_000_000_000
NOBODY = Tally()


def batch(*numbers: int) -> pa.RecordBatch:
    """Rows with these numbers."""
    return pa.record_batch([list(numbers)], schema=SCHEMA)


def numbers(segments: list[Path]) -> list[int]:
    """The rows of segments, in order."""
    return [number for path in segments for number in rows(read_segment(path))]


def rows(segment: Segment) -> list[int]:
    """The rows of one segment."""
    return [row["Number"] for record in segment.records for row in record.to_pylist()]


class Clock:
    """A clock that is set by hand; nanoseconds since 1970."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        """The time it was set to."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The spool's clock."""
    return Clock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The spool's directory, which the spool makes."""
    return tmp_path / "data" / "spool"


@pytest.fixture
def start(directory: Path, clock: Clock) -> Iterator[Callable[..., Spool]]:
    """Starts the spool, as a process does that finds the directory as the last one left it."""
    names = (f"{number:08x}" for number in itertools.count())
    with contextlib.ExitStack() as descriptors:

        def start(segment_max_size: int = 1 << 20, max_size: int = 1 << 40, boot: str = "") -> Spool:
            limits = SpoolLimits(segment_max_size, RETAIN, max_size)
            spool = Spool(directory, SCHEMA, limits, clock=clock, random_hex=lambda: next(names), boot=boot)
            descriptors.callback(end, spool)
            return spool

        yield start


def end(spool: Spool) -> None:
    """Let the open file go without a word, as the end of a process does."""
    if spool._file is not None:
        with contextlib.suppress(OSError):
            spool._file.close()
        spool._file = None


def store(spool: Spool, seconds_ago: float = 0) -> Path:
    """Mark the one sealed segment as stored, this long ago by the test's clock; returns where it is now."""
    (path,) = spool.sealed()
    spool.stored(path)
    path = path.with_suffix(".stored")
    time = START / 1e9 - seconds_ago
    os.utime(path, (time, time))
    return path


def files(directory: Path) -> list[str]:
    """The suffixes of all files."""
    return sorted(path.suffix or path.name for path in directory.iterdir())


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file of this process can grow past `limit` bytes: a write beyond it fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open no file, as one with too many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class UnsyncableFile:
    """The open segment's file, but for its descriptor, which belongs to something that cannot be synced: a pipe."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._pipe = os.pipe()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def fileno(self) -> int:
        """A descriptor for which fdatasync fails."""
        return self._pipe[0]

    def close(self) -> None:
        """Close everything."""
        for descriptor in self._pipe:
            os.close(descriptor)
        self._file.close()


def test_what_was_appended_is_there_after_a_restart(start: Callable[..., Spool]) -> None:
    """After a clean end, the rows of all appends are handed out in order."""
    spool = start()
    spool.append([batch(1, 2), batch(3)], NOBODY)
    spool.append([batch(4)], NOBODY)
    spool.close()
    assert numbers(start().sealed()) == [1, 2, 3, 4]


def test_an_append_is_on_disk_when_it_returns(start: Callable[..., Spool], directory: Path) -> None:
    """Another process that looks at the file right after an append finds all of it."""
    spool = start()
    for number in range(3):
        spool.append([batch(number)], NOBODY)
        (path,) = directory.glob("*.open")
        assert rows(read_segment(path)) == list(range(number + 1))
        assert (read_segment(path).damage, read_segment(path).torn) == ([], 0)
        assert spool.bytes_waiting() == path.stat().st_size


def test_segments_are_named_by_time_and_chance(start: Callable[..., Spool], directory: Path, clock: Clock) -> None:
    """A segment's name is its time of creation and random digits, and its header says the same."""
    clock.now = 7
    start().append([batch(1)], NOBODY)
    (path,) = directory.glob("*.open")
    assert path.name == "00000000000000000007-00000000.open"
    header = read_segment(path).header
    assert (header.segment, header.created_at) == (path.stem, 7)


def test_appending_nothing_makes_no_file(start: Callable[..., Spool], directory: Path) -> None:
    """A batch whose rows were all refused leaves no trace on disk."""
    spool = start()
    spool.append([], NOBODY)
    spool.seal()
    assert not spool.has_open_segment
    assert list(directory.iterdir()) == []
    assert spool.bytes_waiting() == 0


def test_a_full_segment_is_sealed(start: Callable[..., Spool], directory: Path, clock: Clock) -> None:
    """The append that reaches the size seals the segment, and the next one begins another, later in order."""
    spool = start(segment_max_size=2000)
    for number in range(40):
        clock.now += SECOND
        spool.append([batch(number)], NOBODY)
    sealed = spool.sealed()
    assert len(sealed) > 2
    assert all(path.stat().st_size >= 2000 for path in sealed)
    assert numbers([*sealed, *directory.glob("*.open")]) == list(range(40))
    one_append = len(batch(0).serialize()) + 2 * (24 + 8)
    end_of_segment = 24 + 8
    assert all(path.stat().st_size - one_append - end_of_segment < 2000 for path in sealed)


def test_sealing_hands_a_segment_out(start: Callable[..., Spool]) -> None:
    """A segment is handed out once it is sealed, not before; sealing again changes nothing."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    assert spool.has_open_segment
    assert spool.sealed() == []
    spool.seal()
    spool.seal()
    assert not spool.has_open_segment
    assert numbers(spool.sealed()) == [1]
    spool.append([batch(2)], NOBODY)
    spool.seal()
    assert numbers(spool.sealed()) == [1, 2]


def test_what_waits_is_measured(start: Callable[..., Spool], directory: Path) -> None:
    """The bytes that wait are those of the open and the sealed segments, not of the stored."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    spool.seal()
    spool.append([batch(2)], NOBODY)
    assert spool.bytes_waiting() == sum(path.stat().st_size for path in directory.iterdir())
    store(spool)
    (opened,) = directory.glob("*.open")
    assert spool.bytes_waiting() == opened.stat().st_size


def test_a_damaged_segment_is_set_aside(start: Callable[..., Spool], directory: Path, clock: Clock) -> None:
    """A segment that cannot be read is handed out no more and never deleted."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    spool.seal()
    spool.damaged(*spool.sealed())
    clock.now += 10**6 * SECOND
    spool.expire()
    assert spool.sealed() == start().sealed() == []
    assert files(directory) == [".damaged"]


APPEND_AND_DIE = """
import os, signal, sys
from pathlib import Path
import pyarrow as pa
from gateway.spool.spool import Spool, SpoolLimits
from gateway.spool.tally import Tally
schema = pa.schema([pa.field("Number", pa.int64())])
spool = Spool(Path(sys.argv[1]), schema, SpoolLimits(1 << 20, 600), clock=lambda: 1, random_hex=lambda: "0")
for number in range(100):
    spool.append([pa.record_batch([[number]], schema=schema)], Tally())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_s_segment_is_taken_over(start: Callable[..., Spool], directory: Path) -> None:
    """Every append that returned before a SIGKILL is handed out by the next process."""
    root = Path(gateway.__file__).parent.parent
    killed = subprocess.run([sys.executable, "-c", APPEND_AND_DIE, str(directory)], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert files(directory) == [".open"]
    assert numbers(start().sealed()) == list(range(100))
    assert files(directory) == [".sealed"]


def test_a_torn_tail_costs_nothing_that_was_acknowledged(start: Callable[..., Spool], directory: Path) -> None:
    """The write that a crash cut off is left out, and all before it is handed out."""
    spool = start()
    spool.append([batch(1, 2)], NOBODY)
    spool.append([batch(3)], NOBODY)
    end(spool)
    (path,) = directory.glob("*.open")
    torn = batch(4).serialize().to_pybytes()[:-3]
    with path.open("ab") as file:
        file.write(len(torn).to_bytes(4, "little") + torn)
    (sealed,) = start().sealed()
    assert rows(read_segment(sealed)) == [1, 2, 3]
    assert (read_segment(sealed).torn, read_segment(sealed).damage) == (len(torn) + 4, [])


def test_a_sealed_segment_ends_with_what_was_accepted(start: Callable[..., Spool]) -> None:
    """The counts of all appends stand at the end of a sealed segment, whatever becomes of the records before it."""
    spool = start()
    for number in range(3):
        tally = Tally()
        tally.add("default", ACCEPTED, 1)
        spool.append([batch(number)], tally)
    spool.seal()
    (path,) = spool.sealed()
    content = path.read_bytes()
    first = content.index(batch(1).serialize().to_pybytes())
    path.write_bytes(content[:first] + b"damaged!" + content[first + 8 :])
    assert rows(read_segment(path)) == [0, 2]
    assert read_segment(path).tally.total(ACCEPTED) == 3


def test_what_is_damaged_is_copied_aside(start: Callable[..., Spool], directory: Path) -> None:
    """The ranges of a segment that cannot be read are kept in a file of their own, and the segment goes its way."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    spool.seal()
    (path,) = spool.sealed()
    spool.set_aside(path, [(0, 8), (16, 20)])
    content = path.read_bytes()
    assert path.with_suffix(".damaged").read_bytes() == content[:8] + content[16:20]
    assert files(directory) == [".damaged", ".sealed"]


def test_stored_segments_expire_after_their_time_and_not_before(
    start: Callable[..., Spool], directory: Path, clock: Clock
) -> None:
    """A stored segment is kept for its time to the second, then deleted with its cut; what waits is not touched."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    spool.seal()
    path = store(spool)
    path.with_suffix(".cut").touch()
    spool.append([batch(2)], NOBODY)
    spool.seal()
    (waiting,) = spool.sealed()
    waiting.with_suffix(".cut").touch()
    os.utime(waiting, (0, 0))
    clock.now = START + int(RETAIN) * SECOND
    spool.expire()
    assert path.exists()
    clock.now += SECOND // 1000
    spool.expire()
    assert sorted(directory.iterdir()) == sorted([waiting, waiting.with_suffix(".cut")])


def test_stored_segments_make_room_for_those_that_wait(start: Callable[..., Spool], directory: Path) -> None:
    """Where all do not fit into the bound, the oldest stored ones go early, and nothing that waits does."""
    spool = start(max_size=1)
    for number in range(2):
        spool.append([batch(number)], NOBODY)
        spool.seal()
        store(spool)
    spool.append([batch(2)], NOBODY)
    spool.seal()
    spool.expire()
    assert files(directory) == [".sealed"]
    assert numbers(spool.sealed()) == [2]


def test_an_append_tells_what_it_wrote(start: Callable[..., Spool], directory: Path) -> None:
    """The bytes of all appends, with what a segment begins with, are the bytes of the segment."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    (path,) = directory.glob("*.open")
    before = path.stat().st_size
    assert spool.append([batch(2), batch(3)], NOBODY) == path.stat().st_size - before
    assert spool.append([], NOBODY) == 0


def test_a_stored_segment_s_time_begins_when_it_is_stored(start: Callable[..., Spool], directory: Path) -> None:
    """However long a segment waited for ClickHouse, its time of retention begins with the confirmation."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    spool.seal()
    (path,) = spool.sealed()
    os.utime(path, (0, 0))
    spool.stored(path)
    (stored,) = directory.glob("*.stored")
    (directory / "now").touch()
    assert 0 <= (directory / "now").stat().st_mtime - stored.stat().st_mtime < 60


def test_stored_segments_make_room_on_a_disk_that_lacks_it(start: Callable[..., Spool], directory: Path) -> None:
    """When the disk is short, the oldest stored segments go before their time, as many as it takes, and no others."""
    spool = start()
    for number in range(3):
        spool.append([batch(number)], NOBODY)
        spool.seal()
        if number < 2:
            store(spool)
    spool.expire(shortage=1)
    assert files(directory) == [".sealed", ".stored"]
    spool.expire(shortage=1 << 30)
    assert files(directory) == [".sealed"]


def test_an_append_that_fails_for_any_reason_keeps_what_was_acknowledged(start: Callable[..., Spool]) -> None:
    """Whatever interrupts a write, memory that has run out among it, what was written before it and after it stays."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    with mock.patch("gateway.spool.spool.write_record", side_effect=MemoryError), pytest.raises(MemoryError):
        spool.append([batch(2)], NOBODY)
    spool.append([batch(3)], NOBODY)
    spool.close()
    assert sorted(numbers(start().sealed())) == [1, 3]


def test_an_empty_segment_of_a_crash_is_gone(start: Callable[..., Spool], directory: Path) -> None:
    """A file that was made and never written to is no damage."""
    start()
    (directory / "00000000000000000007-ab.open").touch()
    assert start().sealed() == []
    assert files(directory) == []


def test_an_unclean_end_replays_what_was_stored_recently(start: Callable[..., Spool], directory: Path) -> None:
    """Without a clean end, segments stored within the time of retention are handed out again, and older ones not."""
    spool = start()
    for number, seconds_ago in enumerate((RETAIN + 1, RETAIN, 0)):
        spool.append([batch(number)], NOBODY)
        spool.seal()
        store(spool, seconds_ago)
    assert numbers(start().sealed()) == [1, 2]
    assert files(directory) == [".sealed", ".sealed", ".stored"]


def test_a_process_that_ends_alone_replays_nothing(start: Callable[..., Spool]) -> None:
    """What was stored is sent again if the machine went down under the process, not if only the process was killed."""
    spool = start(boot="monday")
    spool.append([batch(1)], NOBODY)
    spool.seal()
    store(spool)
    assert start(boot="monday").sealed() == []
    assert numbers(start(boot="tuesday").sealed()) == [1]


def test_a_replayed_segment_keeps_its_cut(start: Callable[..., Spool]) -> None:
    """A segment that is sent once more is sent in the same units."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    spool.seal()
    cut = store(spool).with_suffix(".cut")
    cut.write_text("the cut")
    (sealed,) = start().sealed()
    assert sealed.with_suffix(".cut") == cut
    assert cut.read_text() == "the cut"


def test_a_clean_end_replays_nothing(start: Callable[..., Spool], directory: Path) -> None:
    """After a clean end what was stored stays so; the mark of it is good for one start."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    spool.seal()
    store(spool)
    spool.close()
    assert files(directory) == [".stored", "clean"]
    assert start().sealed() == []
    assert files(directory) == [".stored"]
    assert numbers(start().sealed()) == [1]


def test_closing_seals(start: Callable[..., Spool], directory: Path) -> None:
    """A clean end leaves nothing open."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    spool.close()
    assert files(directory) == [".sealed", "clean"]


def test_a_write_that_fails_keeps_what_was_acknowledged(
    start: Callable[..., Spool], directory: Path, clock: Clock
) -> None:
    """A full disk costs the append that met it and nothing else; the next one goes to a fresh segment."""
    spool = start()
    spool.append([batch(*range(100))], NOBODY)
    (path,) = directory.glob("*.open")
    acknowledged = path.read_bytes()
    with full_disk(len(acknowledged) + 1000), pytest.raises(OSError, match="File too large"):
        spool.append([batch(7), batch(*range(10_000))], NOBODY)
    assert not spool.has_open_segment
    (sealed,) = spool.sealed()
    assert sealed.read_bytes() == acknowledged
    clock.now += SECOND
    spool.append([batch(100)], NOBODY)
    spool.close()
    assert numbers(start().sealed()) == list(range(101))


def test_a_sync_that_fails_keeps_what_was_acknowledged(
    start: Callable[..., Spool], directory: Path, clock: Clock
) -> None:
    """Rows that were written but may not be on disk are taken back: their sender is told to send them again."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    (path,) = directory.glob("*.open")
    acknowledged = path.read_bytes()
    spool._file = UnsyncableFile(spool._file)  # type: ignore[assignment]
    with pytest.raises(OSError, match="Invalid argument"):
        spool.append([batch(2)], NOBODY)
    assert [path.read_bytes() for path in spool.sealed()] == [acknowledged]
    clock.now += SECOND
    spool.append([batch(3)], NOBODY)
    spool.seal()
    assert numbers(spool.sealed()) == [1, 3]


def test_a_segment_that_cannot_be_begun_leaves_nothing(
    start: Callable[..., Spool], directory: Path, clock: Clock
) -> None:
    """Where not even a segment's start can be written, no file stays, and appends succeed once there is room."""
    spool = start()
    for _ in range(3):
        clock.now += SECOND
        with full_disk(10), pytest.raises(OSError, match="File too large"):
            spool.append([batch(1)], NOBODY)
    assert list(directory.iterdir()) == []
    assert spool.bytes_waiting() == 0
    spool.append([batch(2)], NOBODY)
    spool.seal()
    assert numbers(spool.sealed()) == [2]


def test_a_directory_that_is_gone_fails_appends_until_it_is_back(start: Callable[..., Spool], directory: Path) -> None:
    """Without its directory every append is an OSError, none is lost in silence, and the spool recovers."""
    spool = start()
    directory.rmdir()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            spool.append([batch(1)], NOBODY)
    assert not spool.has_open_segment
    directory.mkdir()
    spool.append([batch(2)], NOBODY)
    spool.seal()
    assert numbers(spool.sealed()) == [2]


def test_a_segment_that_cannot_be_renamed_is_not_forgotten(start: Callable[..., Spool], directory: Path) -> None:
    """Rows whose segment could not be sealed are handed out as soon as it can be."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    (path,) = directory.glob("*.open")
    obstacle = path.with_suffix(".sealed")
    obstacle.mkdir()
    with pytest.raises(OSError, match="directory"):
        spool.seal()
    obstacle.rmdir()
    spool.append([batch(2)], NOBODY)
    spool.seal()
    assert numbers(spool.sealed()) == [1, 2]


def test_a_renamed_segment_whose_directory_cannot_be_synced_blocks_nothing(
    start: Callable[..., Spool], clock: Clock
) -> None:
    """A process that is short of descriptors for a moment goes on sealing once it has some."""
    spool = start()
    spool.append([batch(1)], NOBODY)
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        spool.seal()
    clock.now += SECOND
    spool.append([batch(2)], NOBODY)
    spool.seal()
    assert numbers(spool.sealed()) == [1, 2]


def test_a_lack_of_descriptors_costs_no_acknowledged_row(start: Callable[..., Spool], clock: Clock) -> None:
    """An append that can open no segment is an error, and later ones succeed."""
    spool = start()
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        spool.append([batch(1)], NOBODY)
    clock.now += SECOND
    spool.append([batch(2)], NOBODY)
    spool.close()
    assert numbers(start().sealed()) == [2]
