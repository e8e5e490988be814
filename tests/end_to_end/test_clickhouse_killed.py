"""kill -9 of the embedded ClickHouse, again and again, in the middle of inserts and queries."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import ask, until
from tests.end_to_end.traffic import Traffic, assert_stored_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.harness import Gateway

KILLS = 50
QUERY = b"SELECT count(), sum(length(toString(SpanAttributes))) FROM tollgate.spans, numbers(100000)"
SETTINGS = """
exporters:
  clickhouse:
    retry_on_failure: {initial_interval: 20ms, max_interval: 100ms}
    embedded:
      restart: {initial_interval: 10ms, max_interval: 50ms}
service:
  spool: {segment_max_age: 50ms}
"""


class Analysts:
    """Two readers who ask one long query after the other, whatever becomes of each; `cut_off` counts the unanswered."""

    def __init__(self, gateway: Gateway) -> None:
        self.cut_off = 0
        self._url = f"http://{gateway.clickhouse}/"
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let them finish."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._ended.is_set():
            try:
                ask(self._url, QUERY)
            except OSError:
                self.cut_off += 1
                self._ended.wait(0.05)


@pytest.mark.slow
def test_killed_in_mid_insert_and_mid_query_nothing_is_lost(make_gateway: Callable[..., Gateway]) -> None:
    """After each of fifty kills ClickHouse comes back, every acknowledged span is there once, and none was refused."""
    gateway = make_gateway(config=SETTINGS).start()
    inserts = gateway.data / "clickhouse" / "tollgate-inserts"
    trace_id = "a" * 32
    analysts = Analysts(gateway)
    try:
        with Traffic(gateway, trace_id) as traffic:
            traffic.flows(5)
            for kill in range(1, KILLS + 1):
                pid = until(lambda: gateway.status()["clickhouse"]["pid"])
                # Each insert's data stand in a file there, from before the engine reads them until it has answered.
                until(lambda: any(inserts.iterdir()))
                os.kill(pid, signal.SIGKILL)
                until(lambda kill=kill: gateway.status()["clickhouse"]["restarts"] == kill)
            traffic.flows(5)
    finally:
        analysts.end()
    assert traffic.refused == []
    assert analysts.cut_off >= KILLS / 2
    assert_stored_once(gateway, trace_id, traffic.acknowledged)
    assert gateway.metric("embedded_clickhouse_restarts_total") == KILLS
