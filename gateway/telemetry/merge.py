"""Metrics of several processes as one page: each process's as plain data, added up sample by sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest

if TYPE_CHECKING:
    from collections.abc import Iterable

Families: TypeAlias = list[list[Any]]
"""For each family its name, help, type, and samples: name, labels, value."""


def plain(registry: CollectorRegistry) -> Families:
    """All that a registry has, as data for JSON."""
    return [
        [family.name, family.documentation, family.type, [[each.name, each.labels, each.value] for each in samples]]
        for family in registry.collect()
        for samples in (family.samples,)
    ]


def merge(parts: Iterable[Families]) -> Families:
    """The sum of several processes' metrics; every one of Tollgate's can be added up."""
    heads: dict[str, list[Any]] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for families in parts:
        for name, documentation, kind, samples in families:
            heads.setdefault(name, [name, documentation, kind])
            values = sums.setdefault(name, {})
            for sample, labels, value in samples:
                key = (sample, tuple(labels.items()))
                values[key] = values.get(key, 0.0) + value
    return [
        [*head, [[sample, dict(labels), value] for (sample, labels), value in sums[name].items()]]
        for name, head in heads.items()
    ]


def counters(families: Families, *, but: frozenset[str]) -> Families:
    """Those that only grow while a process lives, and end with it, but for those named."""
    return [family for family in families if family[2] in {"counter", "histogram"} and family[0] not in but]


def expose(families: Families) -> bytes:
    """In Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(families))
    return generate_latest(registry)


class _Collector:
    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for name, documentation, kind, samples in self._families:
            metric = Metric(name, documentation, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            yield metric
