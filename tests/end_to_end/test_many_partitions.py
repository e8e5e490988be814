"""Batches whose spans lie far apart in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import PROTOBUF, request, span, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.harness import Gateway

NOW = 1_795_305_000
DAY = 86_400
SECOND = 1_000_000_000
CONFIG = "service: {spool: {segment_max_age: 50ms}}"


@pytest.mark.slow
@pytest.mark.parametrize(("count", "apart"), [(400, DAY), (200, 31 * DAY)], ids=["400 days", "200 months"])
def test_a_batch_over_many_partitions_is_stored_whole(
    make_gateway: Callable[..., Gateway], count: int, apart: int
) -> None:
    """Spans of one request that lie in more partitions than one insert may touch are all stored, each once."""
    gateway = make_gateway(config=CONFIG).start()
    starts = [(NOW - number * apart) * SECOND for number in range(count)]
    gateway.deliver(request(*(span("d" * 32, f"{n:016x}", start) for n, start in enumerate(starts, 1))), PROTOBUF)
    until(gateway.is_drained, 120)
    (found,) = gateway.query("SELECT count() AS rows, uniqExact(toYYYYMM(Timestamp)) AS months FROM spans")
    assert found["rows"] == count
    assert found["months"] >= min(count, 13)
    assert gateway.metric("stored_spans_total") == count
    assert gateway.metric("dead_lettered_spans_total") == 0
    assert gateway.ledger_closes()
