"""Metrics: one table that names each, and a page and an exposition made of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

import gateway
from gateway.spool.tally import ACCEPTED, DAMAGED, RECEIVED, STORED, Tally, rejected_for
from gateway.telemetry.merge import expose, plain
from gateway.telemetry.metrics import Metrics

_ROW = re.compile(r"^\| `(\w+)` \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)
ROOT = Path(gateway.__file__).parent.parent


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of a gateway of the test's own."""
    return Metrics()


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every value that is exposed, by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(expose(plain(metrics.registry)).decode())
        for sample in family.samples
    }


def test_the_page_has_every_metric(metrics: Metrics) -> None:
    """Each metric that is exposed is in the table with its labels, once, and the table has no other."""
    table = {name: labels for name, labels, _ in _ROW.findall(metrics.describe())}
    exposed = {
        family.name + ("_total" if family.type == "counter" else ""): family for family in metrics.registry.collect()
    }
    assert set(table) == set(exposed)
    assert len(_ROW.findall(metrics.describe())) == len(table)
    for metric in vars(metrics).values():
        if isinstance(metric, Counter):
            assert table[f"{metric._name}_total"] == ", ".join(metric._labelnames)


def test_every_metric_says_what_it_tells(metrics: Metrics) -> None:
    """Each help text is sentences, on one line."""
    for _, _, text in _ROW.findall(metrics.describe()):
        assert text[0].isupper()
        assert text.endswith(".")


def test_all_names_are_tollgate_s(metrics: Metrics) -> None:
    """Every name begins with tollgate_, so that a dashboard finds them, and is Prometheus' style."""
    for family in metrics.registry.collect():
        assert re.fullmatch(r"tollgate_[a-z0-9_]+", family.name)


def test_values_are_exposed_with_their_labels(metrics: Metrics) -> None:
    """What is counted is what is read, and no creation times are among it."""
    metrics.rejected.labels("default", "invalid").inc(2)
    metrics.in_spool.labels("default").inc(5)
    metrics.in_spool.labels("default").dec(2)
    metrics.batch_requests.observe(3)
    seen = samples(metrics)
    assert seen["tollgate_rejected_spans_total", "default", "invalid"] == 2
    assert seen["tollgate_spool_spans", "default"] == 3
    assert seen["tollgate_batch_requests_bucket", "2.0"] == 0
    assert seen["tollgate_batch_requests_bucket", "5.0"] == 1
    assert not [name for name, *_ in seen if name.endswith("_created")]


def test_entries_of_the_ledger_are_counted(metrics: Metrics) -> None:
    """Each entry is counted under its name, by destination and reason, and what is not settled is in the spool."""
    tally = Tally()
    for entry, count in ((RECEIVED, 10), (rejected_for("invalid"), 1), (ACCEPTED, 9), (STORED, 4), (DAMAGED, 2)):
        tally.add("finance", entry, count)
    metrics.count(tally)
    seen = samples(metrics)
    assert seen["tollgate_received_spans_total", "finance"] == 10
    assert seen["tollgate_rejected_spans_total", "finance", "invalid"] == 1
    assert seen["tollgate_accepted_spans_total", "finance"] == 9
    assert seen["tollgate_stored_spans_total", "finance"] == 4
    assert seen["tollgate_damaged_spans_total", "finance"] == 2
    assert seen["tollgate_spool_spans", "finance"] == 3


def test_counters_without_labels_begin_at_zero(metrics: Metrics) -> None:
    """An alert on a counter that never counted sees a zero, not a gap."""
    seen = samples(metrics)
    assert seen["tollgate_exporter_failures_total",] == 0
    assert seen["tollgate_spool_damaged_segments_total",] == 0


def test_two_gateways_do_not_share_metrics(metrics: Metrics) -> None:
    """Each has a registry of its own."""
    other = Metrics()
    metrics.exporter_failures.inc()
    assert samples(metrics)["tollgate_exporter_failures_total",] == 1
    assert samples(other)["tollgate_exporter_failures_total",] == 0


def test_the_page_is_made_by_the_documented_command(metrics: Metrics) -> None:
    """`python -m gateway.telemetry.metrics` prints the page."""
    command = [sys.executable, "-m", "gateway.telemetry.metrics"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (shown.stdout, shown.stderr) == (metrics.describe(), "")
