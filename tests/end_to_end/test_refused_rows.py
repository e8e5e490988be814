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


def test_one_refused_row_among_ten_thousand_stands_alone_and_can_be_replayed(
    make_gateway: Callable[..., Gateway],
) -> None:
    """Of 10,000 spans with one that ClickHouse refuses, 9,999 are stored; one waits until it is replayed."""
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
    listed = gateway.run("deadletter", "list").stdout
    assert f"{reason.stem}  1 row of spans_data, clickhouse_469" in listed
    assert '"SpanName":"refused"' in gateway.run("deadletter", "show", reason.stem).stdout
    assert "no dead letter" in gateway.run("deadletter", "show", "nothing").stderr
    assert "Say which" in gateway.run("deadletter", "drop").stderr
    # Not mended yet, it is refused again and stays; mended, it is stored, and stored once however often it is asked.
    gateway.run("deadletter", "replay", "--all")
    until(lambda: "refuses replayed rows too" in gateway.log)
    as_admin(gateway, "ALTER TABLE spans_data DROP CONSTRAINT no_refused")
    assert "1 will be replayed" in gateway.run("deadletter", "replay", reason.stem).stdout
    until(lambda: gateway.count("spans") == 10_000)
    until(lambda: "no dead letters" in gateway.run("deadletter", "list").stdout)
    assert gateway.metric("replayed_rows_total") == 1
