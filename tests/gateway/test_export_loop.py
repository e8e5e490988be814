"""The export loop sends every unit until it is confirmed, and gives nothing up."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from gateway.dead_letters import DeadLetters
from gateway.export_loop import Backoff, ExportLoop
from gateway.ledger import Ledger
from gateway.spool.spool import Spool, SpoolLimits
from gateway.spool.tally import ACCEPTED, RECEIVED, Tally
from gateway.telemetry.metrics import Metrics
from otlp.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SCHEMA = pa.schema([pa.field("Destination", pa.string()), pa.field("Number", pa.int64())])


def rows(*numbers: int) -> pa.RecordBatch:
    """Rows of destination default."""
    return pa.RecordBatch.from_arrays([pa.array(["default"] * len(numbers)), pa.array(numbers)], schema=SCHEMA)


class FaultyExporter:
    """Stores rows in memory; each attempt takes the next of `faults`, where None is success."""

    def __init__(self, *faults: Exception | None) -> None:
        self.faults = itertools.chain(faults, itertools.repeat(None))
        self.attempts: list[tuple[str, str]] = []
        self.stored: dict[str, list[int]] = {"main": [], "odd": []}

    def unpack(self, packed: pa.Table) -> pa.Table:
        """These rows are not packed."""
        return packed

    def place(self, table: pa.Table) -> dict[str, tuple[Any, Any]]:
        """All rows go to `main`, odd numbers also to `odd`."""
        numbers = table["Number"].to_numpy()
        odd = np.flatnonzero(numbers % 2)
        return {
            "main": (np.arange(len(numbers)), np.zeros(len(numbers), np.int64)),
            "odd": (odd, np.zeros(len(odd), np.int64)),
        }

    def project(self, table_rows: pa.Table, table: str) -> pa.Table:
        """Both tables have all columns."""
        del table
        return table_rows

    def insert(self, table: str, inserted: pa.Table, token: str) -> None:
        """Fail or store."""
        self.attempts.append((table, token))
        fault = next(self.faults)
        if fault is not None:
            raise fault
        self.stored[table] += inserted["Number"].to_pylist()

    def ping(self) -> None:
        """It is there, whatever it does with rows."""


class InThread:
    """Stands where the pipeline does: runs the spool's work."""

    async def in_worker(self, function: Callable[[], Any]) -> Any:
        """Run it at once."""
        return function()


class Harness:
    """A loop over a spool of its own."""

    def __init__(self, directory: Path, *faults: Exception | None) -> None:
        self.directory = directory
        self.exporter = FaultyExporter(*faults)
        self.metrics = Metrics()
        times = itertools.count(1)
        self.spool = Spool(
            directory / "spool",
            SCHEMA,
            SpoolLimits(1 << 20, 600),
            clock=lambda: next(times),
            random_hex=lambda: "0",
        )
        self.ledger = Ledger(directory / "spool", self.metrics.count)
        self.worker = ThreadPoolExecutor(1)
        self.loop = ExportLoop(
            self.spool,
            InThread(),  # type: ignore[arg-type]
            self.exporter,
            self.metrics,
            ledger=self.ledger,
            dead_letters=DeadLetters(directory / "dead"),
            worker=self.worker,
            backoff=Backoff(0.001, 0.01),
            max_age=0.01,
            main_table="main",
        )

    def append(self, *records: pa.RecordBatch) -> None:
        """Accept rows, as the pipeline does."""
        tally = Tally()
        for record in records:
            tally.add("default", RECEIVED, record.num_rows)
            tally.add("default", ACCEPTED, record.num_rows)
        self.spool.append(list(records), tally)
        self.ledger.took(tally)

    async def until(self, happened: Callable[[], bool]) -> None:
        """Let the loop run until something is so, for a bounded time."""
        async with asyncio.timeout(10):
            while not happened():  # noqa: ASYNC110 - it happens in another thread, which needs the interpreter
                await asyncio.sleep(0.001)

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"tollgate_{name}", labels) or 0.0


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Harness]]:
    """Makes loops, and stops them afterwards."""
    made: list[Harness] = []

    def make_one(*faults: Exception | None) -> Harness:
        made.append(Harness(tmp_path / str(len(made)), *faults))
        return made[-1]

    yield make_one
    for harness in made:
        await harness.loop.stop(5)
        harness.worker.shutdown()


async def test_segments_reach_every_table_and_are_kept_as_stored(make: Callable[..., Harness]) -> None:
    """Rows of sealed segments and of the open one are inserted table by table, and their segments move on."""
    harness = make()
    harness.append(rows(1, 2), rows(3))
    harness.spool.seal()
    harness.append(rows(4))
    harness.loop.start()
    await harness.until(lambda: len(harness.exporter.stored["main"]) == 4 and not harness.spool.sealed())
    assert harness.exporter.stored == {"main": [1, 2, 3, 4], "odd": [1, 3]}
    assert len(list((harness.directory / "spool").glob("*.stored"))) == 2
    assert harness.metric("stored_spans_total", destination="default") == 4


async def test_a_passing_fault_is_tried_again_with_the_same_token(make: Callable[..., Harness]) -> None:
    """A unit that fails for now is sent again under the token it had, and units that were confirmed are not."""
    away = RetryableError("ClickHouse is away")
    harness = make(away, away, None, away, None)
    harness.append(rows(1, 2))
    harness.spool.seal()
    harness.loop.start()
    await harness.until(lambda: harness.exporter.stored["odd"] == [1] and not harness.spool.sealed())
    tables = [table for table, _ in harness.exporter.attempts]
    assert tables == ["main", "main", "main", "odd", "odd"]
    assert len(set(harness.exporter.attempts)) == 2
    assert harness.exporter.stored == {"main": [1, 2], "odd": [1]}
    assert harness.metric("exporter_failures_total") == 3


async def test_a_defect_of_the_exporter_loses_nothing(make: Callable[..., Harness]) -> None:
    """An exception of any kind counts as a passing fault: the segment stays and is sent again."""
    harness = make(ZeroDivisionError("a defect"))
    harness.append(rows(2))
    harness.spool.seal()
    harness.loop.start()
    await harness.until(lambda: harness.exporter.stored["main"] == [2] and not harness.spool.sealed())


async def test_what_is_refused_for_good_goes_to_the_dead_letters(make: Callable[..., Harness]) -> None:
    """Of a refused unit the bad row is kept with its reason, the others are stored, and all are counted."""
    refused = PermanentError("no such type", reason="clickhouse_53")
    harness = make(refused, refused, refused, None, None)
    harness.append(rows(2, 4, 8))
    harness.spool.seal()
    harness.append(rows(6))
    harness.loop.start()
    await harness.until(lambda: harness.exporter.stored["main"] == [4, 8, 6] and not harness.spool.sealed())
    (letter,) = (harness.directory / "dead").glob("*.arrow")
    with pa.ipc.open_file(letter) as file:
        assert file.read_all()["Number"].to_pylist() == [2]
    assert "no such type" in letter.with_suffix(".json").read_text()
    assert harness.metric("dead_lettered_spans_total", destination="default") == 1
    assert harness.metric("stored_spans_total", destination="default") == 3


async def test_a_segment_that_cannot_be_read_is_set_aside(make: Callable[..., Harness]) -> None:
    """An unreadable segment is renamed and counted, and the next one is exported."""
    harness = make()
    harness.append(rows(4))
    harness.spool.seal()
    harness.spool.sealed()[0].write_bytes(b"not a segment")
    harness.append(rows(2))
    harness.loop.start()
    await harness.until(lambda: harness.exporter.stored["main"] == [2])
    assert len(list((harness.directory / "spool").glob("*.damaged"))) == 1
    assert harness.metric("spool_damaged_segments_total") == 1


async def test_a_segment_that_is_damaged_after_it_was_cut_is_cut_again(make: Callable[..., Harness]) -> None:
    """Rows whose numbers have changed are sent under tokens of their own: every row that is left is stored."""
    harness = make(*[RetryableError("ClickHouse is away")] * 3)
    for number in range(5):
        harness.append(rows(number))
    harness.spool.seal()
    (path,) = harness.spool.sealed()
    harness.loop.start()
    await harness.until(lambda: harness.metric("exporter_failures_total") > 0)
    content = bytearray(path.read_bytes())
    content[content.index(rows(1).serialize().to_pybytes())] ^= 1
    path.write_bytes(bytes(content))
    await harness.until(lambda: not harness.spool.sealed())
    assert sorted(set(harness.exporter.stored["main"])) == [0, 2, 3, 4]
    tokens = [token for table, token in harness.exporter.attempts if table == "main"]
    assert tokens[0] != tokens[-1]
    assert harness.metric("damaged_spans_total", destination="default") == 1
    assert harness.metric("spool_damaged_bytes_total", where="amid") > 0
    assert harness.metric("spool_spans", destination="default") == 0
    assert len(list((harness.directory / "spool").glob("*.damaged"))) == 1


async def test_stopping_leaves_what_fails_on_disk(make: Callable[..., Harness]) -> None:
    """A stop does not wait for a ClickHouse that is away; the segment is there for the next start."""
    harness = make(*[RetryableError("ClickHouse is away")] * 10_000)
    harness.append(rows(1))
    harness.spool.seal()
    harness.loop.start()
    await harness.until(lambda: harness.metric("exporter_failures_total") > 0)
    await harness.loop.stop(5)
    assert len(harness.spool.sealed()) == 1
    assert harness.metric("spool_spans", destination="default") == 1


def test_waiting_grows_up_to_its_bound() -> None:
    """The delay doubles from the first to the longest, shortened by up to half."""
    backoff = Backoff(1.0, 30.0)
    for failures, longest in ((1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (1000, 30.0)):
        assert longest / 2 <= backoff.delay(failures) <= longest
