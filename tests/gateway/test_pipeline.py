"""The pipeline answers each request for itself, after its spans are on disk."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from config import DestinationSettings
from exporters.clickhouse.rows import encode, layout
from gateway.admission import Admission
from gateway.ledger import Ledger
from gateway.pipeline import Accepted, Pipeline, PipelineLimits
from gateway.sample import sample_delivery
from gateway.spool.room import Room
from gateway.spool.segment import read_segment
from gateway.spool.spool import Spool, SpoolLimits
from gateway.telemetry.metrics import Metrics
from otlp.decode_json import decode_json
from otlp.errors import PermanentError, RetryableError
from processors.base import Context
from tests.end_to_end.harness import request, span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from otlp.batch import SpanBatch

MIB = 1 << 20


def delivery(number: int, **changes: Any) -> bytes:
    """A delivery of three spans; `changes` are made to its first span."""
    document = sample_delivery(f"gen-1795304410-{number:020d}", 1_795_304_410_000_000_000)
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0].update(changes)
    return json.dumps(document).encode()


def fail_on(text: str) -> Callable[[SpanBatch, Context], SpanBatch]:
    """A defective processor: it raises if any span of the batch has this name."""

    def process(batch: SpanBatch, _: Context) -> SpanBatch:
        if text in batch.spans.name.tolist():
            raise ZeroDivisionError
        return batch

    return process


class _OutOfMemory:
    """A spool whose first write finds no memory."""

    def __init__(self, spool: Spool) -> None:
        self.appends = [self._fail, spool.append]

    def _fail(self, *_: Any) -> int:
        raise MemoryError

    def append(self, *arguments: Any) -> int:
        """Write, or fail."""
        return self.appends.pop(0)(*arguments)


class Harness:
    """A pipeline on a spool of its own, with one destination."""

    def __init__(self, directory: Path, *processors: Any, capacity: int = MIB, linger: float = 0) -> None:
        self.spool = Spool(
            directory, layout().packed, SpoolLimits(MIB, 600), clock=lambda: 1, random_hex=iter("abcdefgh").__next__
        )
        self.metrics = Metrics()
        room = Room(1 << 40, 0, free_disk=lambda: 1 << 40)
        room.look(0)
        self.pipeline = Pipeline(
            processors,
            encode,
            self.spool,
            Context({"default": DestinationSettings()}),
            limits=PipelineLimits(MIB, MIB, linger),
            admission=Admission(capacity=capacity, memory_limit=1 << 40, room=room, metrics=self.metrics),
            room=room,
            ledger=Ledger(directory, self.metrics.count),
            metrics=self.metrics,
        )

    async def submit(self, *bodies: bytes) -> list[Accepted | BaseException]:
        """Submit requests that find the worker busy with none, so that they are one batch."""
        exports = [asyncio.create_task(self.pipeline.submit("default", body, decode_json)) for body in bodies]
        await asyncio.sleep(0)
        self.pipeline.start()
        return await asyncio.gather(*exports, return_exceptions=True)

    async def rows(self) -> int:
        """The rows that are in the spool."""
        await self.pipeline.in_worker(self.spool.seal)
        return sum(read_segment(path).rows for path in self.spool.sealed())

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(f"tollgate_{name}", labels) or 0.0


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Harness]]:
    """Makes pipelines, and closes them afterwards."""
    made: list[Harness] = []

    def make_one(*processors: Any, **options: Any) -> Harness:
        made.append(Harness(tmp_path / str(len(made)), *processors, **options))
        return made[-1]

    yield make_one
    for harness in made:
        await harness.pipeline.drain()
        harness.pipeline.close()
        harness.spool.close()


async def test_what_is_accepted_is_on_disk(make: Callable[..., Harness]) -> None:
    """When a request is answered, its spans can be read back from the spool."""
    harness = make()
    assert await harness.submit(delivery(1)) == [Accepted()]
    assert await harness.rows() == 3
    assert harness.metric("accepted_spans_total", destination="default") == 3


async def test_what_arrives_together_is_one_batch(make: Callable[..., Harness]) -> None:
    """Requests that wait at the same time are processed and written together."""
    harness = make()
    assert await harness.submit(*(delivery(number) for number in range(5))) == [Accepted()] * 5
    assert (harness.metric("batch_requests_count"), harness.metric("batch_requests_sum")) == (1, 5)
    assert await harness.rows() == 15


async def test_a_request_that_cannot_be_decoded_harms_no_other(make: Callable[..., Harness]) -> None:
    """Of a batch, the malformed request gets a permanent error; the others are accepted and stored."""
    harness = make()
    first, broken, last = await harness.submit(delivery(1), b"garbage", delivery(2))
    assert (first, last) == (Accepted(), Accepted())
    assert isinstance(broken, PermanentError)
    assert await harness.rows() == 6


async def test_a_processor_that_raises_fails_only_the_request_that_provokes_it(make: Callable[..., Harness]) -> None:
    """The batch is halved until the request at fault stands alone; all others are accepted and stored."""
    harness = make(fail_on("poison"))
    answers = await harness.submit(*(delivery(n, **({"name": "poison"} if n == 3 else {})) for n in range(8)))
    assert [number for number, answer in enumerate(answers) if isinstance(answer, PermanentError)] == [3]
    assert answers.count(Accepted()) == 7
    assert await harness.rows() == 21
    assert harness.metric("batches_halved_total") == 3


async def test_a_span_that_is_refused_is_told_and_the_others_stored(make: Callable[..., Harness]) -> None:
    """A request with one unusable span is accepted but for that span, and its sender hears how many and why."""
    harness = make()
    whole, partial = await harness.submit(delivery(1), delivery(2, traceId="0" * 32))
    assert whole == Accepted()
    assert isinstance(partial, Accepted)
    assert partial.rejected == 1
    assert "trace id" in partial.message
    assert await harness.rows() == 5
    assert harness.metric("rejected_spans_total", destination="default", reason="invalid") == 1


async def test_the_ledger_of_what_is_received_closes(make: Callable[..., Harness]) -> None:
    """Received spans are accepted or rejected, whatever became of their requests."""
    harness = make(fail_on("poison"))
    await harness.submit(delivery(1), b"{", delivery(2, spanId=""), delivery(3, name="poison"), b"{}")
    received = harness.metric("received_spans_total", destination="default")
    rejected = harness.metric("rejected_spans_total", destination="default", reason="invalid")
    assert received == harness.metric("accepted_spans_total", destination="default") + rejected == 6


async def test_a_spool_that_cannot_be_written_is_a_retryable_error(make: Callable[..., Harness]) -> None:
    """Without the spool's directory nothing is acknowledged: senders are told to try again, and then they succeed."""
    harness = make()
    directory = harness.spool._directory
    directory.rmdir()
    (refused,) = await harness.submit(delivery(1))
    assert isinstance(refused, RetryableError)
    directory.mkdir()
    assert await harness.pipeline.submit("default", delivery(1), decode_json) == Accepted()
    assert await harness.rows() == 3


async def test_a_write_that_fails_for_any_reason_stops_nothing(make: Callable[..., Harness]) -> None:
    """Whatever goes wrong while writing, the sender is told to try again, and the next request is served."""
    harness = make()
    harness.pipeline._spool = _OutOfMemory(harness.spool)  # type: ignore[assignment]
    (refused,) = await harness.submit(delivery(1))
    assert isinstance(refused, RetryableError)
    assert await harness.pipeline.submit("default", delivery(1), decode_json) == Accepted()
    assert await harness.rows() == 3


async def test_more_than_may_be_in_flight_is_refused_for_now(make: Callable[..., Harness]) -> None:
    """Beyond its bound of bytes in flight the pipeline refuses retryably, and takes the same request later."""
    harness = make(capacity=len(delivery(1)) + 10)
    answers = await harness.submit(delivery(1), delivery(2))
    assert answers[0] == Accepted()
    assert isinstance(answers[1], RetryableError)
    assert await harness.pipeline.submit("default", delivery(2), decode_json) == Accepted()


async def test_a_small_body_that_becomes_very_large_rows_is_refused_alone(make: Callable[..., Harness]) -> None:
    """A resource's attributes that thousands of spans would each copy are refused before they are; others are taken."""
    shared = [{"key": f"key {number}", "value": {"stringValue": "x" * 100}} for number in range(100)]
    spans = [span("e" * 32, f"{number:016x}", 1_795_304_410_000_000_000) for number in range(1, 501)]
    greedy = request(*spans)
    greedy["resourceSpans"][0]["resource"] = {"attributes": shared}
    harness = make()
    answers = await harness.submit(delivery(1), json.dumps(greedy).encode(), delivery(2))
    assert (answers[0], answers[2]) == (Accepted(), Accepted())
    assert isinstance(answers[1], PermanentError)
    assert "Each of the 500 spans gets a copy" in str(answers[1])
    assert "Send fewer spans in a request." in str(answers[1])
    assert await harness.rows() == 6
    assert harness.metric("batches_halved_total") == 0


async def test_requests_that_come_fast_share_a_batch(make: Callable[..., Harness]) -> None:
    """A request that comes alone is processed at once; those that follow within the time are one batch."""
    harness = make(linger=0.2)
    harness.pipeline.start()
    async with asyncio.timeout(10):
        started = asyncio.get_running_loop().time()
        await harness.pipeline.submit("default", delivery(1), decode_json)
        following = [harness.pipeline.submit("default", delivery(number), decode_json) for number in (2, 3, 4)]
        assert await asyncio.gather(*following) == [Accepted()] * 3
        assert asyncio.get_running_loop().time() - started >= 0.2
    assert (harness.metric("batch_requests_count"), harness.metric("batch_requests_sum")) == (2, 4)


async def test_after_draining_nothing_more_is_taken(make: Callable[..., Harness]) -> None:
    """A pipeline that shuts down finishes what it has and refuses what comes, retryably."""
    harness = make()
    exports = [asyncio.create_task(harness.pipeline.submit("default", delivery(n), decode_json)) for n in range(3)]
    await asyncio.sleep(0)
    harness.pipeline.start()
    await harness.pipeline.drain()
    assert await asyncio.gather(*exports) == [Accepted()] * 3
    with pytest.raises(RetryableError):
        await harness.pipeline.submit("default", delivery(9), decode_json)
