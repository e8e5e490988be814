"""Metrics of several processes as one page."""

from __future__ import annotations

import orjson
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.merge import counters, expose, merge, plain
from gateway.telemetry.metrics import LEDGER, Metrics


def samples(page: bytes) -> dict[tuple[str, ...], float]:
    """Every value of a page, by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_values_are_added_up() -> None:
    """Counters, gauges and histograms of two processes are one page, after a way through JSON."""
    first, second = Metrics(), Metrics()
    first.stored.labels("default").inc(2)
    second.stored.labels("default").inc(3)
    second.stored.labels("finance").inc(5)
    first.spool_bytes.set(10)
    second.spool_bytes.set(20)
    first.batch_requests.observe(1)
    second.batch_requests.observe(100)
    parts = [orjson.loads(orjson.dumps(plain(metrics.registry))) for metrics in (first, second)]
    seen = samples(expose(merge(parts)))
    assert seen["tollgate_stored_spans_total", "default"] == 5
    assert seen["tollgate_stored_spans_total", "finance"] == 5
    assert seen["tollgate_spool_bytes",] == 30
    assert seen["tollgate_batch_requests_count",] == 2
    assert seen["tollgate_batch_requests_bucket", "50.0"] == 1
    assert seen["tollgate_exporter_failures_total",] == 0


def test_what_ends_with_a_process_is_told_apart() -> None:
    """Counters and histograms are kept when a process ends, but for those of the ledger, and gauges are not."""
    metrics = Metrics()
    metrics.exporter_failures.inc()
    metrics.stored.labels("default").inc()
    metrics.spool_bytes.set(10)
    kept = {family[0] for family in counters(plain(metrics.registry), but=LEDGER)}
    assert {"tollgate_exporter_failures", "tollgate_batch_seconds"} <= kept
    assert kept.isdisjoint({"tollgate_stored_spans", "tollgate_spool_bytes", "tollgate_spool_spans"})
    assert {family[0] for family in plain(metrics.registry)} >= LEDGER
