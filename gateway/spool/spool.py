"""The spool's directory: one open segment that grows, sealed ones that wait for ClickHouse, stored ones kept a while.

A segment's state is its file's suffix, so that a rename is all it takes to change it. Not thread-safe: everything here
runs in the pipeline's one thread, except for `sealed`, `stored`, `damaged`, `forget` and `set_aside`, which concern
segments that nothing else changes.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import structlog

from gateway.spool.durable import sync_directory, write_durably
from gateway.spool.segment import Header, Kind, write_record, write_start, write_tally
from gateway.spool.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = structlog.get_logger()


class State(StrEnum):
    """What has become of a segment."""

    OPEN = "open"
    SEALED = "sealed"
    STORED = "stored"
    DAMAGED = "damaged"


_CLEAN, _BOOT = "clean", "boot"


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """When a segment is sealed (bytes), and how long stored ones are kept (seconds), while all fit into `max_size`."""

    segment_max_size: int
    retain_stored: float
    max_size: int = 1 << 62


class Spool:
    """Appends durably and hands out sealed segments.

    `clock` gives nanoseconds since 1970 in UTC, `random_hex` a few random hex digits for segment names. `boot` tells
    this run of the machine from any other, as far as that is known.
    """

    def __init__(
        self,
        directory: Path,
        schema: pa.Schema,
        limits: SpoolLimits,
        *,
        clock: Callable[[], int],
        random_hex: Callable[[], str],
        boot: str = "",
    ) -> None:
        self._directory = directory
        self._schema = schema
        self._limits = limits
        self._clock = clock
        self._random_hex = random_hex
        self._file: BinaryIO | None = None
        self._path: Path | None = None
        self._header: Header | None = None
        self._tally = Tally()
        self._size = 0
        self._to_seal: list[Path] = []
        self._lock = threading.Lock()
        self._sealed = set(directory.glob(f"*.{State.SEALED}"))
        directory.mkdir(parents=True, exist_ok=True)
        self._recover(boot)

    def append(self, records: list[pa.RecordBatch], tally: Tally) -> int:
        """Write the records and return, once they are on disk, how many bytes that took; OSError if they may not be.

        `tally` says whose spans were accepted in them, and whose were rejected meanwhile. After an error the segment is
        sealed as it was before, so that the next attempt starts on a fresh file.
        """
        if not records:
            return 0
        # One record: of a write that is cut off, all is there or nothing. And nothing fails between two writes for want
        # of memory.
        rows = _joined(records).serialize()
        try:
            if self._file is None:
                self._start_segment()
            assert self._file is not None  # noqa: S101 - set by _start_segment
            assert self._header is not None  # noqa: S101 - likewise
            size = self._size + write_tally(self._file, self._header, Kind.RECEIPTS, tally)
            size += write_record(self._file, self._header, Kind.ROWS, rows)
            self._file.flush()
            os.fdatasync(self._file.fileno())
        except BaseException:
            self._abandon()
            raise
        written = size - self._size
        self._size = size
        self._tally.update(tally)
        if self._size >= self._limits.segment_max_size:
            try:
                self.seal()
            except OSError as error:
                log.error("a full segment cannot be sealed yet", segment=self._to_seal[-1].stem, error=str(error))
        return written

    @property
    def has_open_segment(self) -> bool:
        """Whether there is something to seal."""
        return self._file is not None or bool(self._to_seal)

    def seal(self) -> None:
        """Close the open segment, if any, and make it ready for export; after an OSError the next call tries again."""
        if self._file is not None and self._path is not None:
            self._end(self._file)
            self._file = None
            self._to_seal.append(self._path)
        while self._to_seal:
            self._move(self._to_seal[0], State.SEALED)
            self._to_seal.pop(0)

    def sealed(self) -> list[Path]:
        """The segments that wait for export, oldest first."""
        with self._lock:
            return sorted(self._sealed)

    def stored(self, path: Path) -> None:
        """Note that ClickHouse has all of a segment; its time of retention begins."""
        os.utime(path)
        self._move(path, State.STORED)

    def damaged(self, path: Path) -> None:
        """Set a segment aside that cannot be read."""
        self._move(path, State.DAMAGED)

    def forget(self, path: Path) -> None:
        """Hand a segment out no more."""
        with self._lock:
            self._sealed.discard(path)

    def set_aside(self, path: Path, damage: list[tuple[int, int]]) -> None:
        """Keep a copy of the bytes of a segment that are no records, one range after the other."""
        content = path.read_bytes()
        write_durably(path.with_suffix(f".{State.DAMAGED}"), b"".join(content[start:stop] for start, stop in damage))

    def expire(self, shortage: int = 0) -> None:
        """Delete stored segments whose time is up, and the oldest where they take the room of those that wait.

        `shortage` is how many bytes the disk lacks.
        """
        oldest = self._clock() / 1e9 - self._limits.retain_stored
        stored = sorted(self._directory.glob(f"*.{State.STORED}"))
        sizes = [path.stat().st_size for path in stored]
        excess = max(sum(sizes) + self.bytes_waiting() - self._limits.max_size, shortage)
        for path, size in zip(stored, sizes, strict=True):
            if excess > 0 or path.stat().st_mtime < oldest:
                path.with_suffix(".cut").unlink(missing_ok=True)
                path.unlink()
                excess -= size

    def bytes_waiting(self) -> int:
        """The size of everything that ClickHouse does not have yet; callable from any thread."""
        waiting = self._size if self._file is not None else 0
        for path in self.sealed():
            with contextlib.suppress(FileNotFoundError):  # stored a moment ago
                waiting += path.stat().st_size
        return waiting

    def close(self) -> None:
        """Seal, and leave the mark by which the next start knows that nothing was cut off."""
        self.seal()
        (self._directory / _CLEAN).touch()
        sync_directory(self._directory)

    def _recover(self, boot: str) -> None:
        """Seal what a previous process left open; if the machine went down under it, replay what was stored recently.

        ClickHouse may have lost, together with the machine's power, what it had acknowledged a moment before. The end
        of a process alone loses nothing that was written.
        """
        clean, last_boot = self._directory / _CLEAN, self._directory / _BOOT
        is_same_boot = bool(boot) and last_boot.exists() and last_boot.read_text() == boot
        if not clean.exists() and not is_same_boot:
            recent = self._clock() / 1e9 - self._limits.retain_stored
            for path in self._directory.glob(f"*.{State.STORED}"):
                if path.stat().st_mtime >= recent:
                    self._move(path, State.SEALED)
        if boot and not is_same_boot:
            write_durably(last_boot, boot.encode())
        clean.unlink(missing_ok=True)
        for path in self._directory.glob(f"*.{State.OPEN}"):
            if not path.stat().st_size:
                path.unlink()  # its process ended before it wrote a thing
                continue
            log.info("a segment of an earlier run is taken over", segment=path.stem)
            self._move(path, State.SEALED)

    def _start_segment(self) -> None:
        created_at = self._clock()
        self._header = Header(f"{created_at:020d}-{self._random_hex()}", created_at)
        self._tally = Tally()
        self._path = self._directory / f"{self._header.segment}.{State.OPEN}"
        self._size = 0
        self._file = self._path.open("xb", buffering=1 << 20)
        size = write_start(self._file, self._header, self._schema)
        self._file.flush()
        os.fsync(self._file.fileno())
        sync_directory(self._directory)
        self._size = size

    def _end(self, file: BinaryIO) -> None:
        """Write what a whole segment ends with, and close its file."""
        assert self._header is not None  # noqa: S101 - set with the file
        try:
            with file:
                write_tally(file, self._header, Kind.END, self._tally)
                file.flush()
                os.fdatasync(file.fileno())
        except OSError as error:
            # Nothing is lost: without its end a segment is read like one that a crash has left.
            log.warning("a segment's end cannot be written", segment=self._header.segment, error=str(error))

    def _abandon(self) -> None:
        """After a failed write: keep what was acknowledged before it, and nothing of what was not."""
        if self._file is None or self._path is None:
            return
        file, self._file = self._file, None
        with contextlib.suppress(OSError):  # what it still held back cannot be written either
            file.close()
        if not self._size:
            self._path.unlink()
            return
        try:
            os.truncate(self._path, self._size)
        except OSError as error:
            # Harmless: reading stops before it, or a span is stored that its sender sends again.
            log.warning("a failed write stays at a segment's end", segment=self._path.stem, error=str(error))
        self._to_seal.append(self._path)
        self.seal()

    def _move(self, path: Path, state: State) -> None:
        moved = path.with_suffix(f".{state}")
        # Tried again after a failed sync, it may have been renamed already, and even have moved on since.
        with contextlib.suppress(FileNotFoundError):
            path.rename(moved)
        with self._lock:
            self._sealed.discard(path)
            if state is State.SEALED and moved.exists():
                self._sealed.add(moved)
        sync_directory(self._directory)


def _joined(records: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(records) == 1:
        return records[0]
    (joined,) = pa.Table.from_batches(records).combine_chunks().to_batches()
    return joined
