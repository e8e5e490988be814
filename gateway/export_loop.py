"""The export loop: takes sealed segments one after the other, sends their units, and lets go of what is stored.

Nothing is given up: what fails for a passing reason is tried again without end, and rows that ClickHouse refuses for
good go to the dead-letter directory.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from gateway.bisection import insert_all_but_bad
from gateway.spool.cut import Placement, Unit, load_or_cut, token
from gateway.spool.segment import DamagedSegmentError, Segment, read_segment
from otlp.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from pathlib import Path

    from gateway.bisection import Refused
    from gateway.dead_letters import DeadLetters
    from gateway.pipeline import Pipeline
    from gateway.spool.room import Room
    from gateway.spool.spool import Spool
    from gateway.telemetry.metrics import Metrics
    from otlp.types import Int64Column

log = structlog.get_logger()

_IDLE = 0.05
_EXPIRE_EVERY = 5.0
_LOOK_EVERY = 0.5
_REPLAY_EVERY = 1.0


class Exporter(Protocol):
    """What the loop needs of an exporter; blocking, called from one thread."""

    def unpack(self, packed: pa.Table) -> pa.Table:
        """The rows of spool records in the form that the other methods take."""

    def place(self, rows: pa.Table) -> dict[str, tuple[Int64Column, Int64Column]]:
        """For each table, in the order of inserting: which rows it takes, and the month (since 1970) of each."""

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert rows; RetryableError or PermanentError if that is not confirmed."""


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
        dead_letters: DeadLetters,
        metrics: Metrics,
        *,
        room: Room,
        worker: Executor,
        backoff: Backoff,
        max_age: float,
        main_table: str,
    ) -> None:
        """`room` is told what waits, `worker` is the one thread in which the exporter is called.

        `max_age` is how old an open segment may grow (seconds), `main_table` the table whose rows are counted.
        """
        self._spool = spool
        self._pipeline = pipeline
        self._exporter = exporter
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._room = room
        self._backoff = backoff
        self._max_age = max_age
        self._main_table = main_table
        self._worker = worker
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Count what is waiting, and begin to export."""
        waiting = await self._in_worker(lambda: sum(_rows_of(path) for path in self._spool.sealed()))
        self._metrics.recovered.inc(waiting)
        self._metrics.in_spool.inc(waiting)
        self._tasks = [
            asyncio.create_task(self._seal_by_age(), name="seal"),
            asyncio.create_task(self._look_after_spool(), name="spool"),
            asyncio.create_task(self._run(), name="export"),
            asyncio.create_task(self._replay(), name="replay"),
        ]

    async def stop(self, patience: float) -> None:
        """Export what is sealed within `patience` seconds, then stop; what is left waits on disk for the next start.

        An insert that hangs is left behind in its thread.
        """
        self._stopping.set()
        _, late = await asyncio.wait(self._tasks, timeout=patience) if self._tasks else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _in_worker(self, function: Callable[[], int]) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._worker, function)

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

    async def _look_after_spool(self) -> None:
        """See to it that stored segments go and that it is known how much room there is."""
        expired_at = 0.0
        while not self._stopping.is_set():
            try:
                if time.monotonic() - expired_at > _EXPIRE_EVERY:
                    expired_at = time.monotonic()
                    await self._pipeline.in_worker(self._spool.expire)
                waiting = await self._pipeline.in_worker(self._spool.bytes_waiting)
                self._room.look(waiting)
                self._metrics.spool_bytes.set(waiting)
            except OSError as error:
                log.error("the spool's directory cannot be looked after; this is tried again", error=str(error))
            await self._wait(_LOOK_EVERY)

    async def _replay(self) -> None:
        """Insert dead letters once more when a person asks for it."""
        while not self._stopping.is_set():
            await self._wait(_REPLAY_EVERY)
            try:
                await self._in_worker(self._replay_all)
            except (OSError, RetryableError) as error:
                log.warning("dead letters cannot be replayed now; this is tried again", error=str(error))

    def _replay_all(self) -> int:
        letters = self._dead_letters.to_replay()
        for letter in letters:
            try:
                self._exporter.insert(letter.table, self._dead_letters.rows(letter), letter.token)
            except PermanentError as error:
                log.error("ClickHouse refuses replayed rows too", letter=letter.name, error=str(error))
                self._dead_letters.refused_again(letter, error)
            else:
                log.info("dead letters are replayed", letter=letter.name, table=letter.table, rows=letter.rows)
                self._metrics.replayed.labels(letter.table).inc(letter.rows)
                self._dead_letters.drop(letter)
        return len(letters)

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
        done: set[int] = set()
        failures = 0
        while True:
            delay = self._backoff.delay(failures + 1)
            try:
                await self._in_worker(lambda: self._send(path, done))
            except RetryableError as error:
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

    def _send(self, path: Path, done: set[int]) -> int:
        """Insert the units of a segment that are not `done`, then move the segment on; returns how many it sent."""
        try:
            segment = read_segment(path)
        except DamagedSegmentError as error:
            log.error("a segment is unreadable and is set aside", segment=path.stem, error=str(error))
            self._metrics.damaged_segments.inc()
            self._spool.damaged(path)
            return 0
        if segment.damaged_bytes and not done:
            log.warning("the end of a segment is cut off", segment=path.stem, bytes=segment.damaged_bytes)
            self._metrics.damaged_bytes.inc(segment.damaged_bytes)
        rows = self._exporter.unpack(pa.Table.from_batches(segment.records, segment.schema))
        sent = 0
        for unit in self._units(path, segment, rows):
            if unit.number not in done:
                self._insert(
                    segment, unit, pa.concat_tables(rows.slice(start, stop - start) for start, stop in unit.ranges)
                )
                done.add(unit.number)
                sent += 1
        self._spool.stored(path)
        return sent

    def _units(self, path: Path, segment: Segment, rows: pa.Table) -> list[Unit]:
        sizes = np.repeat(
            np.array([record.nbytes / max(record.num_rows, 1) for record in segment.records], np.float64),
            np.array([record.num_rows for record in segment.records], np.int64),
        )
        placements = [
            Placement(table, numbers, months, sizes[numbers])
            for table, (numbers, months) in self._exporter.place(rows).items()
        ]
        return load_or_cut(path.with_suffix(".cut"), segment.header.segment, placements)

    def _insert(self, segment: Segment, unit: Unit, rows: pa.Table) -> None:
        """Insert a unit; the rows of it that ClickHouse refuses for good go to the dead letters."""
        started = time.perf_counter()
        name = segment.header.segment
        refused = insert_all_but_bad(
            rows, token(name, unit), lambda part, part_token: self._exporter.insert(unit.table, part, part_token)
        )
        for part in refused:
            log.error(
                "ClickHouse refuses rows for good; they are in the dead letters",
                segment=name,
                unit=unit.number,
                table=unit.table,
                rows=part.stop - part.start,
                error=str(part.error),
            )
            self._dead_letters.add(name, unit, part, rows.slice(part.start, part.stop - part.start))
        self._metrics.exporter_inserts.labels(unit.table).inc()
        self._metrics.exporter_seconds.observe(time.perf_counter() - started)
        if unit.table == self._main_table:
            self._count(rows, refused)

    def _count(self, rows: pa.Table, refused: list[Refused]) -> None:
        """Close the ledger of a unit: each of its rows is stored, or in the dead letters."""
        dead: Counter[str] = Counter()
        for part in refused:
            dead.update(_by_destination(rows.slice(part.start, part.stop - part.start)))
        for destination, count in _by_destination(rows).items():
            self._metrics.stored.labels(destination).inc(count - dead[destination])
            self._metrics.dead_lettered.labels(destination).inc(dead[destination])
            self._metrics.in_spool.dec(count)


def _by_destination(rows: pa.Table) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(rows["Destination"]).to_pylist()}


def _rows_of(path: Path) -> int:
    try:
        return read_segment(path).rows
    except DamagedSegmentError:
        return 0
