"""The disk takes no more: senders are told to try again, and what was acknowledged before stays."""

from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING

from tests.end_to_end.harness import JSON, Answer, Gateway, request, span, until

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 256 << 10
START = 1_795_306_000_000_000_000
CONFIG = """
exporters: {clickhouse: {embedded: null, endpoint: "%s", database: %s, retry_on_failure: {max_interval: 200ms}}}
service: {spool: {segment_max_age: 1h}}
"""


def no_file_over_the_limit() -> None:
    """Make every file that grows over LIMIT fail to be written, as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))


def send(gateway: Gateway, number: int) -> Answer:
    """Send a span of about 60 KB."""
    padding = [{"key": "padding", "value": {"stringValue": f"{number:06}" * 10_000}}]
    sent = span("d" * 32, f"{number:016x}", START + number, attributes=padding)
    return gateway.post(json.dumps(request(sent)).encode(), JSON)


def test_a_write_that_fails_is_answered_with_503(
    make_gateway: Callable[..., Gateway], clickhouse_url: str, clickhouse_database: str
) -> None:
    """While the spool cannot be written, senders get 503 with Retry-After; every acknowledged span is stored, once."""
    config = CONFIG % (clickhouse_url, clickhouse_database)
    gateway = make_gateway(config=config, database=clickhouse_database, before=no_file_over_the_limit).start()
    acknowledged, refused, number = 0, 0, 0
    while refused < 2:
        number += 1
        answer = send(gateway, number)
        if answer.status == 200:
            acknowledged += 1
            continue
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert json.loads(answer.body)["code"] == 14
        refused += 1
    assert acknowledged >= 6
    assert gateway.metric("accepted_spans_total") == acknowledged
    assert gateway.metric("rejected_spans_total") == refused
    until(lambda: gateway.metric("stored_spans_total") == acknowledged)
    assert gateway.ledger_closes()
    assert gateway.metric("spool_damaged_bytes_total") == 0
    assert gateway.metric("spool_damaged_segments_total") == 0
    assert gateway.stop() == 0
    assert "the spool cannot be written" in gateway.log
    assert not list((gateway.data / "spool" / "0").glob("*.damaged"))
    gateway.clickhouse = clickhouse_url.removeprefix("http://")
    assert gateway.count("spans") == acknowledged
