"""The pipeline: from request bodies to acknowledged spans on disk, in batches that form by themselves.

What arrives while one batch is decoded, processed and synced is the next batch. All of that happens in one worker
thread; the event loop only receives and answers.
"""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import structlog

from gateway.spool.tally import ACCEPTED, RECEIVED, Tally, rejected_for
from gateway.tasks import begin
from otlp.batch import Request
from otlp.builder import SpanBatchBuilder
from otlp.errors import PermanentError, RetryableError
from otlp.expansion import expanded_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from gateway.admission import Admission, Ticket
    from gateway.ledger import Ledger
    from gateway.spool.room import Room
    from gateway.spool.spool import Spool
    from gateway.telemetry.metrics import Metrics
    from otlp.batch import SpanBatch
    from otlp.builder import Decoder
    from processors.base import Context, Processor

log = structlog.get_logger()

ResultT = TypeVar("ResultT")


class Encoder(Protocol):
    """Lays a batch out as the rows that the spool keeps."""

    def __call__(self, batch: SpanBatch) -> pa.RecordBatch:
        """The rows, one a span."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a request: how many of its spans were refused, and why (empty if none)."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Export:
    request: Request
    body: bytes
    decode: Decoder
    ticket: Ticket
    answer: asyncio.Future[Accepted]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A request's part in a batch: spans taken, and the answer or error for its sender."""

    spans: int
    answer: Accepted | Exception
    reason: str = ""


class _TooLargeError(Exception):
    """The rows of a batch would take too much memory."""


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """What may be processed together: bytes of bodies, and of what spans get copies of; seconds between batches."""

    batch_size: int
    expanded_size: int
    linger: float


class Pipeline:
    """Takes export requests and answers each once its spans are durable, or are known to be refused."""

    def __init__(
        self,
        processors: Sequence[Processor],
        encode: Encoder,
        spool: Spool,
        context: Context,
        *,
        limits: PipelineLimits,
        admission: Admission,
        room: Room,
        ledger: Ledger,
        metrics: Metrics,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._processors = processors
        self._encode = encode
        self._spool = spool
        self._context = context
        self._limits = limits
        self._admission = admission
        self._room = room
        self._ledger = ledger
        self._unwritten = Tally()
        self._metrics = metrics
        self._clock = clock
        self._waiting: list[_Export] = []
        self._arrived = asyncio.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pipeline")
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to process what is submitted."""
        self._task = begin(self._run(), "pipeline")

    @property
    def is_running(self) -> bool:
        """Whether what is submitted will be answered."""
        return self._task is not None and not self._task.done()

    def admit(self, size: int) -> Ticket:
        """The right to submit so many bytes, which receivers ask for before they read; RetryableError if not now."""
        return self._admission.admit(size)

    async def submit(self, destination: str, body: bytes, decode: Decoder, ticket: Ticket | None = None) -> Accepted:
        """Process a request's body; returns when its spans are on disk.

        RetryableError if they may be sent again later, PermanentError if not.
        """
        ticket = ticket or self.admit(0)
        ticket.resize(len(body))
        ticket.is_handed_on = True
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Export(Request(destination, self._clock()), body, decode, ticket, answer))
        self._arrived.set()
        return await answer

    async def in_worker(self, function: Callable[[], ResultT]) -> ResultT:
        """Run something in the thread that owns the spool."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, function)

    async def drain(self) -> None:
        """Refuse what comes, finish what has come."""
        self._closing = True
        self._admission.close()
        self._arrived.set()
        if self._task is not None:
            await self._task

    def close(self) -> None:
        """Let the worker thread go; `in_worker` is not used any more."""
        self._worker.shutdown()

    async def _run(self) -> None:
        begun = -math.inf
        while not (self._closing and not self._waiting):
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            lingering = begun + self._limits.linger - time.monotonic()
            if lingering > 0 and not self._closing:
                # Under load, requests share the fixed costs of a batch; a request that comes alone waits for nobody.
                await asyncio.sleep(lingering)
            begun = time.monotonic()
            exports = self._next_batch()
            outcomes = await self.in_worker(partial(self._process, exports))
            for export, outcome in zip(exports, outcomes, strict=True):
                self._settle(export, outcome)

    def _next_batch(self) -> list[_Export]:
        size = count = 0
        for export in self._waiting:
            size += len(export.body)
            if count and size > self._limits.batch_size:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    @staticmethod
    def _settle(export: _Export, outcome: _Outcome) -> None:
        """Answer the sender if it is still there."""
        export.ticket.release()
        if export.answer.cancelled():
            return
        if isinstance(outcome.answer, Exception):
            export.answer.set_exception(outcome.answer)
        else:
            export.answer.set_result(outcome.answer)

    def _process(self, exports: list[_Export]) -> list[_Outcome]:
        """Decode, process, encode and store a batch. Runs in the worker thread; never raises."""
        started = time.perf_counter()
        records, outcomes = self._to_rows(exports)
        tally = _tally(exports, outcomes)
        try:
            receipts = Tally.together(self._unwritten, tally)
            written = self._spool.append([record for record in records if record.num_rows], receipts)
        except Exception as error:
            # Not only OSError: whatever it is (memory has run out, say), the next batch must be served.
            log.error("the spool cannot be written: senders are told to try again", exc_info=error)
            full = RetryableError("Tollgate cannot store spans at the moment; try again.", delay=5)
            outcomes = [
                outcome if isinstance(outcome.answer, Exception) else _Outcome(outcome.spans, full, "spool")
                for outcome in outcomes
            ]
            tally = _tally(exports, outcomes)
            written = 0
        self._room.took(written)
        self._ledger.took(tally)
        self._unwritten = Tally() if written else Tally.together(self._unwritten, tally)
        self._metrics.batch_requests.observe(len(exports))
        self._metrics.batch_seconds.observe(time.perf_counter() - started)
        return outcomes

    def _to_rows(self, exports: list[_Export]) -> tuple[list[pa.RecordBatch], list[_Outcome]]:
        """The rows of the exports and each one's outcome.

        If a step raises, the batch is halved until the request that provokes it stands alone; the others go on.
        """
        undecodable: dict[int, PermanentError] = {}
        try:
            batch = self._decode(exports, undecodable)
            self._require_small(batch)
            for process in self._processors:
                batch = process(batch, self._context)
            record = self._encode(batch)
        except _TooLargeError as error:
            if len(exports) == 1:
                return [], [_Outcome(0, PermanentError(str(error), reason="too_large"), "too_large")]
            return self._process_halves(exports)
        except Exception as error:  # noqa: BLE001 - whatever a step does wrong, the other requests must not suffer
            return self._halve(exports, error)
        spans = np.bincount(batch.spans.request, minlength=len(batch.requests)).tolist()
        rejected: dict[int, list[tuple[int, str]]] = {}
        for rejection in batch.rejections:
            rejected.setdefault(rejection.request, []).append((rejection.count, rejection.reason))
        outcomes, row = [], 0
        for number in range(len(exports)):
            if number in undecodable:
                outcomes.append(_Outcome(0, undecodable[number], "malformed"))
                continue
            outcomes.append(_Outcome(spans[row], _answer(rejected.get(row, []))))
            row += 1
        return [record], outcomes

    def _require_small(self, batch: SpanBatch) -> None:
        """Rows copy what spans share, so that a small body may become very many bytes: _TooLargeError."""
        size = int(expanded_bytes(batch).sum())
        if size > self._limits.expanded_size:
            raise _TooLargeError(
                f"Each of the {len(batch)} spans gets a copy of the attributes of its resource and scope, which makes "
                f"{size >> 20} MiB; the limit is {self._limits.expanded_size >> 20} MiB. Send fewer spans in a request."
            )

    @staticmethod
    def _decode(exports: list[_Export], undecodable: dict[int, PermanentError]) -> SpanBatch:
        """All exports in one batch, but for those that are noted as undecodable."""
        builder = SpanBatchBuilder()
        for number, export in enumerate(exports):
            try:
                export.decode(export.body, export.request, builder)
            except PermanentError as error:
                undecodable[number] = error
        return builder.build()

    def _halve(self, exports: list[_Export], error: Exception) -> tuple[list[pa.RecordBatch], list[_Outcome]]:
        if len(exports) == 1 and isinstance(error, MemoryError):
            log.error("there is no memory for a request", destination=exports[0].request.destination, exc_info=error)
            return [], [_Outcome(0, RetryableError("Tollgate is short of memory; try again.", delay=5), "memory")]
        if len(exports) == 1:
            log.error("a request cannot be processed", destination=exports[0].request.destination, exc_info=error)
            text = "Tollgate failed to process this request; its operator finds the reason in the log."
            return [], [_Outcome(0, PermanentError(text, reason="internal"), "internal")]
        self._metrics.batches_halved.inc()
        return self._process_halves(exports)

    def _process_halves(self, exports: list[_Export]) -> tuple[list[pa.RecordBatch], list[_Outcome]]:
        middle = len(exports) // 2
        first_records, first = self._to_rows(exports[:middle])
        second_records, second = self._to_rows(exports[middle:])
        return first_records + second_records, first + second


def _tally(exports: list[_Export], outcomes: list[_Outcome]) -> Tally:
    """The entries of the ledger for a batch."""
    tally = Tally()
    for export, outcome in zip(exports, outcomes, strict=True):
        destination, answer = export.request.destination, outcome.answer
        refused = answer.rejected if isinstance(answer, Accepted) else 0
        tally.add(destination, RECEIVED, outcome.spans + refused)
        tally.add(destination, rejected_for("invalid"), refused)
        entry = rejected_for(outcome.reason) if isinstance(answer, Exception) else ACCEPTED
        tally.add(destination, entry, outcome.spans)
    return tally


def _answer(rejections: list[tuple[int, str]]) -> Accepted:
    """The answer to a request some of whose spans were refused, each reason named once."""
    if not rejections:
        return Accepted()
    counts: dict[str, int] = {}
    for count, reason in rejections:
        counts[reason] = counts.get(reason, 0) + count
    message = "; ".join(f"{count} rejected: {reason}" for reason, count in counts.items())
    return Accepted(sum(counts.values()), f"{message}. All other spans of the request are stored.")
