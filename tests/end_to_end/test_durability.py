"""The promise of an acknowledgement: the span is in ClickHouse, once, whatever is stopped or killed in between."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import Gateway, request, span, until
from tests.end_to_end.traffic import START, Traffic, assert_stored_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Gateway]:
    """A gateway that these tests stop, kill and start."""
    made = Gateway(tmp_path_factory.mktemp("durability"), free_port)
    try:
        yield made.start()
    finally:
        made.stop()


def test_sigterm_while_spans_flow_loses_nothing(gateway: Gateway) -> None:
    """SIGTERM ends it with status 0 within 10 s, and what it acknowledged is there after the next start."""
    trace_id = "1" * 32
    with Traffic(gateway, trace_id) as traffic:
        traffic.flows()
        assert gateway.stop(signal.SIGTERM, seconds=10) == 0
    assert not list((gateway.data / "spool" / "0").glob("*.open"))
    gateway.start()
    assert_stored_once(gateway, trace_id, traffic.acknowledged)


def test_a_killed_gateway_loses_nothing(gateway: Gateway) -> None:
    """After kill -9 of the gateway and a start right away, every acknowledged span is in `spans`, once."""
    trace_id = "2" * 32
    with Traffic(gateway, trace_id) as traffic:
        traffic.flows()
        assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL
        gateway.start()
        traffic.flows(5)
    assert_stored_once(gateway, trace_id, traffic.acknowledged)


def test_a_killed_clickhouse_loses_nothing(gateway: Gateway) -> None:
    """After kill -9 of the ClickHouse child it is started again, and every acknowledged span is in `spans`, once."""
    trace_id = "3" * 32
    with Traffic(gateway, trace_id) as traffic:
        traffic.flows()
        os.kill(gateway.status()["clickhouse"]["pid"], signal.SIGKILL)
        traffic.flows()
        until(lambda: gateway.status()["clickhouse"]["restarts"] == 1)
        traffic.flows()
    assert_stored_once(gateway, trace_id, traffic.acknowledged)
    assert gateway.metric("embedded_clickhouse_restarts_total") == 1


def test_sigterm_during_the_start_ends_it(make_gateway: Callable[..., Gateway]) -> None:
    """A gateway that is told to stop while it starts ends with status 0, and starts the next time."""
    gateway = make_gateway()
    gateway.launch()
    until((gateway.data / "clickhouse").exists)
    assert gateway.stop(signal.SIGTERM, seconds=10) == 0
    assert gateway.output == ""
    gateway.start().deliver(request(span("4" * 32, "4" * 16, START)))
