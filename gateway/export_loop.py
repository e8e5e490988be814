"""The export loop: takes sealed segments one after the other, sends their units, and lets go of what is stored.

Nothing is given up: what fails for a passing reason is tried again without end, and rows that ClickHouse refuses for
good go to the dead-letter directory.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from gateway.bisection import insert_all_but_bad
from gateway.spool.cut import Placement, Unit, load_or_cut, token
from gateway.spool.segment import DamagedSegmentError, Segment, read_segment, read_tally
from gateway.spool.tally import DEAD_LETTERED, STORED, Tally
from gateway.tasks import begin
from otlp.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from pathlib import Path

    from gateway.dead_letters import DeadLetters
    from gateway.ledger import Ledger
    from gateway.pipeline import Pipeline
    from gateway.spool.spool import Spool
    from gateway.telemetry.metrics import Metrics
    from otlp.types import Int64Column

log = structlog.get_logger()

_IDLE = 0.05


class Exporter(Protocol):
    """What the loop needs of an exporter; blocking, called from one thread."""

    def unpack(self, packed: pa.Table) -> pa.Table:
        """The rows of spool records in the form that the other methods take."""

    def place(self, rows: pa.Table) -> dict[str, tuple[Int64Column, Int64Column]]:
        """For each table, in the order of inserting: which rows it takes, and the month (since 1970) of each."""

    def project(self, rows: pa.Table, table: str) -> pa.Table:
        """The rows with the columns of a table, without a copy."""

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert rows; RetryableError or PermanentError if that is not confirmed."""

    def ping(self) -> None:
        """RetryableError if it is of no use to try an insert now."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between attempts: doubling from `initial` up to `maximum`, each shortened by up to half at random."""

    initial: float
    maximum: float

    def delay(self, failures: int) -> float:
        """How long to wait after this many failures in a row."""
        longest = min(self.maximum, self.initial * 2.0 ** min(failures - 1, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret


class ExportLoop:
    """Moves segments from the spool to an exporter."""

    def __init__(
        self,
        spool: Spool,
        pipeline: Pipeline,
        exporter: Exporter,
        metrics: Metrics,
        *,
        ledger: Ledger,
        dead_letters: DeadLetters,
        worker: Executor,
        backoff: Backoff,
        max_age: float,
        main_table: str,
    ) -> None:
        """`worker` is the one thread in which the exporter is called.

        `max_age` is how old an open segment may grow (seconds), `main_table` the table whose rows are counted.
        """
        self._spool = spool
        self._pipeline = pipeline
        self._exporter = exporter
        self._ledger = ledger
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._backoff = backoff
        self._max_age = max_age
        self._main_table = main_table
        self._worker = worker
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to export."""
        self._tasks = [begin(self._seal_by_age(), "seal"), begin(self._run(), "export")]

    @property
    def is_running(self) -> bool:
        """Whether all that it does is being done."""
        return not any(task.done() for task in self._tasks)

    async def stop(self, patience: float) -> None:
        """Export what is sealed within `patience` seconds, then stop; what is left waits on disk for the next start.

        An insert that hangs is left behind in its thread.
        """
        self._stopping.set()
        _, late = await asyncio.wait(self._tasks, timeout=patience) if self._tasks else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _in_worker(self, function: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._worker, function)

    async def _seal_by_age(self) -> None:
        """Seal the open segment once every `max_age`.

        While others wait it is left to grow: many small segments are many small inserts, and none is stored sooner.
        """
        while not self._stopping.is_set():
            await self._wait(self._max_age)
            try:
                if self._spool.has_open_segment and not self._spool.sealed():
                    await self._pipeline.in_worker(self._spool.seal)
            except OSError as error:
                log.error("a segment cannot be sealed; this is tried again", error=str(error))

    async def _run(self) -> None:
        """Export segment after segment; once stopping, until none is left or an attempt fails."""
        while True:
            paths = self._spool.sealed()
            if not paths:
                if self._stopping.is_set():
                    return
                await self._wait(_IDLE)
                continue
            for path in paths:
                if not await self._export(path):
                    return

    async def _export(self, path: Path) -> bool:
        """Export one segment; false if it must wait for the next start."""
        progress = _Progress()
        failures = 0
        while True:
            delay = self._backoff.delay(failures + 1)
            try:
                await self._in_worker(lambda: self._send(path, progress))
            except RetryableError as error:
                delay = max(delay, error.delay)
                log.warning(
                    "an insert failed and is tried again", segment=path.stem, delay=round(delay, 2), error=str(error)
                )
            except Exception as error:
                log.error(
                    "a segment cannot be exported and is tried again",
                    segment=path.stem,
                    delay=round(delay, 2),
                    exc_info=error,
                )
            else:
                return True
            failures += 1
            self._metrics.exporter_failures.inc()
            if self._stopping.is_set():
                return False
            await self._wait(delay)

    async def _wait(self, seconds: float) -> None:
        """Wait, but not into a stop."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _send(self, path: Path, progress: _Progress) -> None:
        """Insert the units of a segment that are not done yet, then move the segment on."""
        if progress.identity:
            # Reading and unpacking a segment again is dear, and of no use while ClickHouse is away.
            self._exporter.ping()
        try:
            segment = read_segment(path)
        except FileNotFoundError:
            # Moved on, though the attempt that did it failed afterwards, or taken away by a person.
            log.warning("a segment is gone and passed over", segment=path.stem)
            self._spool.forget(path)
            return
        except DamagedSegmentError as error:
            log.error("a segment is unreadable and is set aside", segment=path.stem, error=str(error))
            self._metrics.damaged_segments.inc()
            self._ledger.settle(path, read_tally(path), Tally())
            self._spool.damaged(path)
            return
        if progress.identity != segment.identity:
            # At the first attempt, or damaged since the last one: its rows have other numbers now.
            progress.begin(segment.identity)
            self._tell_damage(path, segment)
        rows = self._exporter.unpack(pa.Table.from_batches(segment.records, segment.schema))
        sizes = _sizes(segment)
        segment.records.clear()  # the file's content is not needed twice in memory
        for unit in self._units(path, segment.identity, rows, sizes):
            if unit.number not in progress.done:
                # Projected first: a unit of calls is copied row by row, and needs none of the spans' long texts.
                part = _rows_of(self._exporter.project(rows, unit.table), unit)
                self._insert(segment, unit, part, progress.settled)
                progress.done.add(unit.number)
        self._ledger.settle(path, segment.tally, progress.settled)
        self._spool.stored(path)

    def _tell_damage(self, path: Path, segment: Segment) -> None:
        """Log, count and set aside what cannot be read."""
        if segment.damage:
            self._spool.set_aside(path, segment.damage)
            size = sum(stop - start for start, stop in segment.damage)
            log.error("parts of a segment are unreadable and set aside", segment=path.stem, ranges=segment.damage)
            self._metrics.damaged_bytes.labels("amid").inc(size)
        if segment.torn:
            log.warning("a write at the end of a segment was cut off", segment=path.stem, bytes=segment.torn)
            self._metrics.damaged_bytes.labels("end").inc(segment.torn)

    def _units(self, path: Path, identity: str, rows: pa.Table, sizes: np.ndarray) -> list[Unit]:
        placements = [
            Placement(table, numbers, months, sizes[numbers])
            for table, (numbers, months) in self._exporter.place(rows).items()
        ]
        return load_or_cut(path.with_suffix(".cut"), identity, placements)

    def _insert(self, segment: Segment, unit: Unit, rows: pa.Table, settled: Tally) -> None:
        """Insert a unit's rows; what of them ClickHouse refuses for good goes to the dead letters."""
        started, name = time.perf_counter(), segment.header.segment
        refused = insert_all_but_bad(
            rows,
            token(segment.identity, unit),
            lambda part, part_token: self._exporter.insert(unit.table, part, part_token),
        )
        dead: Counter[str] = Counter()
        for bad in refused:
            log.error(
                "ClickHouse refuses rows for good; they are in the dead letters",
                segment=name,
                unit=unit.number,
                table=unit.table,
                rows=bad.stop - bad.start,
                error=str(bad.error),
            )
            bad_rows = rows.slice(bad.start, bad.stop - bad.start)
            self._dead_letters.add(name, unit, bad, bad_rows)
            dead.update(_by_destination(bad_rows))
        self._metrics.exporter_inserts.labels(unit.table).inc()
        self._metrics.exporter_seconds.observe(time.perf_counter() - started)
        if unit.table == self._main_table:
            for destination, count in _by_destination(rows).items():
                settled.add(destination, STORED, count - dead[destination])
                settled.add(destination, DEAD_LETTERED, dead[destination])


@dataclass(slots=True)
class _Progress:
    """How far the export of a segment is: the numbers of its units that are done, and what became of their rows."""

    identity: str = ""
    done: set[int] = field(default_factory=set)
    settled: Tally = field(default_factory=Tally)

    def begin(self, identity: str) -> None:
        """Begin with a segment of this identity."""
        self.identity, self.done, self.settled = identity, set(), Tally()


def _sizes(segment: Segment) -> np.ndarray:
    """About how many bytes each row has: those of its record, in equal parts."""
    return np.repeat(
        np.array([record.nbytes / max(record.num_rows, 1) for record in segment.records], np.float64),
        np.array([record.num_rows for record in segment.records], np.int64),
    )


def _rows_of(rows: pa.Table, unit: Unit) -> pa.Table:
    if len(unit.ranges) == 1:
        ((start, stop),) = unit.ranges
        return rows.slice(start, stop - start)
    # Thousands of slices, one a call, would be as many chunks, and each later step slow in proportion.
    return rows.take(np.concatenate([np.arange(start, stop) for start, stop in unit.ranges]))


def _by_destination(rows: pa.Table) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(rows["Destination"]).to_pylist()}
