"""Every metric, in one table: its name, its labels, and what an operator should make of it.

The two equations of the ledger are among them, in receipts and with copies counted:
received = accepted + rejected, and accepted = stored + dead-lettered + damaged + in the spool.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from gateway.spool.tally import ACCEPTED, DAMAGED, DEAD_LETTERED, RECEIVED, STORED, Tally, reason_of

disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_PAGE = """# Metrics

At `http://127.0.0.1:13133/metrics`, in Prometheus' text format. This page is made by
`python -m gateway.telemetry.metrics > docs/metrics.md`.

The ledger, per destination and over all runs on the data directory, in receipts (a span that arrives twice counts
twice): `received = accepted + rejected`, and `accepted = stored + dead_lettered + damaged + spool_spans`.
`tollgate ledger` shows the same numbers, whether the gateway runs or not.
"""


LEDGER: Final = frozenset(
    f"tollgate_{name}_spans" for name in ("received", "accepted", "rejected", "stored", "dead_lettered", "damaged")
)
"""The metrics that go on where an earlier process stopped."""


class Metrics:
    """One gateway's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._table: list[tuple[str, str, str]] = []
        self.requests = self._counter(
            "receiver_requests",
            "Export requests by transport and outcome. 'unauthenticated': a sender has a wrong key. 'refused': it was "
            "told to try again. 'malformed': it sends what is not OTLP.",
            "transport",
            "outcome",
        )
        self.received = self._counter("received_spans", "Spans that arrived in readable requests.", "destination")
        self.accepted = self._counter(
            "accepted_spans", "Spans acknowledged after they were on disk in the spool.", "destination"
        )
        self.rejected = self._counter(
            "rejected_spans",
            "Spans that were not accepted, by reason; the sender was told. 'spool' means that it may try again: check "
            "the disk of the data directory.",
            "destination",
            "reason",
        )
        self.stored = self._counter("stored_spans", "Spans that ClickHouse has confirmed.", "destination")
        self.dead_lettered = self._counter(
            "dead_lettered_spans",
            "Spans that ClickHouse refuses for good. They are in the dead-letter directory, with the reason beside "
            "them.",
            "destination",
        )
        self.damaged = self._counter(
            "damaged_spans",
            "Accepted spans that cannot be read back from the spool: its disk is failing. What is left of them is set "
            "aside in files with the suffix .damaged.",
            "destination",
        )
        self.replayed = self._counter(
            "replayed_rows",
            "Dead letters that ClickHouse took when they were replayed, by table. They stay counted as dead-lettered.",
            "table",
        )
        self.in_spool = self._gauge(
            "spool_spans",
            "Spans in the spool that ClickHouse has not confirmed yet. Growing: see exporter_failures.",
            "destination",
        )
        self.spool_bytes = self._gauge("spool_bytes", "The size of the spool's segments that wait for ClickHouse.")
        self.spool_full = self._gauge(
            "spool_full",
            "How many workers tell senders to try again because their spool is at its bound or its disk nearly full. "
            "See why ClickHouse does not take the spans, or raise service::spool::max_size.",
        )
        self.memory = self._gauge("worker_memory_bytes", "Memory that the workers have, all together.")
        self.memory_limited = self._gauge(
            "memory_limited",
            "How many workers are above their part of service::memory_limit and tell senders to try again. If it stays "
            "so, raise the limit or have senders send smaller requests.",
        )
        self.damaged_bytes = self._counter(
            "spool_damaged_bytes",
            "Bytes of segments that could not be read back, by where: 'end' is a last write that a crash has cut off "
            "and nobody was told of; with 'amid' the disk is failing.",
            "where",
        )
        self.damaged_segments = self._counter(
            "spool_damaged_segments", "Segments that could not be read at all and were set aside, suffix .damaged."
        )
        self.batch_requests = self._histogram(
            "batch_requests", "Requests processed and synced to disk together.", (1, 2, 5, 10, 20, 50, 100, 200, 500)
        )
        self.batch_seconds = self._histogram(
            "batch_seconds", "Time from decoding a batch to having it on disk.", _SECONDS
        )
        self.batches_halved = self._counter(
            "batches_halved",
            "Batches that a processor could not handle and that were halved to find the request at fault. A defect of "
            "Tollgate: please report it with the log line.",
        )
        self.exporter_inserts = self._counter("exporter_inserts", "Insert units that ClickHouse confirmed.", "table")
        self.exporter_failures = self._counter(
            "exporter_failures",
            "Inserts that failed and are tried again. Growing: ClickHouse is away or overloaded; the log says which.",
        )
        self.exporter_seconds = self._histogram("exporter_insert_seconds", "Duration of inserts.", _SECONDS)
        self.worker_restarts = self._counter(
            "worker_restarts",
            "Times that a worker died, or hung and was killed, and was started again. The log has the reason; what it "
            "had acknowledged is on disk.",
        )
        self.clickhouse_restarts = self._counter(
            "embedded_clickhouse_restarts", "Times that the embedded ClickHouse died and was started again."
        )
        self.clickhouse_disk_free = self._gauge(
            "embedded_clickhouse_disk_free_bytes",
            "Free bytes on the disk of the embedded ClickHouse. At 0 spans wait in the spool: free space, drop old "
            "partitions, or move to a server (docs/embedded.md).",
        )

    def count(self, tally: Tally) -> None:
        """Count entries of the ledger."""
        by_entry = {
            RECEIVED: self.received,
            ACCEPTED: self.accepted,
            STORED: self.stored,
            DEAD_LETTERED: self.dead_lettered,
            DAMAGED: self.damaged,
        }
        for destination, entry, count in tally:
            reason = reason_of(entry)
            if reason is None:
                by_entry[entry].labels(destination).inc(count)
            else:
                self.rejected.labels(destination, reason).inc(count)
        for destination in tally.destinations():
            self.in_spool.labels(destination).inc(tally.in_spool(destination))

    def describe(self) -> str:
        """The page docs/metrics.md."""
        rows = "\n".join(f"| `{name}` | {labels} | {documentation} |" for name, labels, documentation in self._table)
        return f"{_PAGE}\n| metric | labels | what it tells |\n|---|---|---|\n{rows}\n"

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        self._table.append((f"tollgate_{name}_total", ", ".join(labels), documentation))
        return Counter(f"tollgate_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        self._table.append((f"tollgate_{name}", ", ".join(labels), documentation))
        return Gauge(f"tollgate_{name}", documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...]) -> Histogram:
        self._table.append((f"tollgate_{name}", "", f"{documentation} A histogram."))
        return Histogram(f"tollgate_{name}", documentation, registry=self.registry, buckets=buckets)


if __name__ == "__main__":
    print(Metrics().describe(), end="")  # noqa: T201 - it is redirected into the page
