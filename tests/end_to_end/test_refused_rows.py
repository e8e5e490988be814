"""Rows that ClickHouse itself refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.end_to_end.harness import as_admin, request, span, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.harness import Gateway

START = 1_795_305_000_000_000_000
ADMIN = "exporters: {clickhouse: {embedded: {users: {admin: {role: admin, password: admin's}}}}}"


def test_one_refused_row_among_ten_thousand_stands_alone(make_gateway: Callable[..., Gateway]) -> None:
    """Of 10,000 spans with one that ClickHouse refuses, 9,999 are stored and one is in the dead letters with why."""
    gateway = make_gateway(config=ADMIN).start()
    as_admin(gateway, "ALTER TABLE spans_data ADD CONSTRAINT no_refused CHECK SpanName != 'refused'")
    spans = [span("c" * 32, f"{number:016x}", START + number) for number in range(1, 10_001)]
    spans[6543]["name"] = "refused"
    gateway.deliver(request(*spans))
    until(gateway.is_drained)
    assert gateway.count("spans") == 9_999
    (reason,) = (gateway.data / "dead-letter").glob("*.json")
    told = json.loads(reason.read_text())
    assert (told["table"], told["rows"], told["reason"]) == ("spans_data", 1, "clickhouse_469")
    assert gateway.metric("dead_lettered_spans_total") == 1
    assert gateway.ledger_closes()
