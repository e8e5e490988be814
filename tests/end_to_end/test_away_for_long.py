"""ClickHouse is away while very many spans arrive: they wait on disk, not in memory, and are stored soon after."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.sample import sample_delivery
from tests.end_to_end.harness import until
from tests.exporters.clickhouse.embedded.server import launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.harness import Gateway

DELIVERIES, TOGETHER = 66_700, 100  # three spans each
START = 1_795_304_410_482_000_000
MIB = 1 << 20
GENERATION = "gen-1795304410-{:020}"
CONFIG = """
exporters:
  clickhouse:
    embedded: null
    endpoint: http://127.0.0.1:%d
    username: admin
    password: admin's
"""


def request_of(first: int) -> bytes:
    """A request of a hundred sample deliveries, as a Collector would put them together."""
    deliveries = [sample_delivery(GENERATION.format(first + n), START + first + n) for n in range(TOGETHER)]
    return json.dumps({"resourceSpans": [part for each in deliveries for part in each["resourceSpans"]]}).encode()


class Memory:
    """Looks again and again at the memory of the gateway's processes."""

    def __init__(self, gateway: Gateway) -> None:
        status = gateway.status()
        self._pids = [status["pid"], *(worker["pid"] for worker in status["workers"])]
        self.idle = self.most = self._now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            self.most = max(self.most, self._now())

    def _now(self) -> int:
        pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._pids)
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_two_hundred_thousand_spans_wait_on_disk(
    make_gateway: Callable[..., Gateway], free_port: Callable[[], int], tmp_path: Path
) -> None:
    """All are acknowledged while ClickHouse is away, in little memory, and stored within a minute of its return."""
    port = free_port()
    gateway = make_gateway(config=CONFIG % port).start()
    gateway.clickhouse = f"127.0.0.1:{port}"
    memory = Memory(gateway)
    try:
        for first in range(0, DELIVERIES, TOGETHER):
            answer = gateway.post(request_of(first))
            assert (answer.status, answer.body) == (200, b"{}")
        assert gateway.metric("spool_spans") == 3 * DELIVERIES
        returned = time.monotonic()
        server = launch(tmp_path, port)
        try:
            until(gateway.is_drained, 120)
            assert time.monotonic() - returned < 60
            for view, rows in (("spans", 3 * DELIVERIES), ("llm_calls", DELIVERIES)):
                assert gateway.count(view) == rows
        finally:
            server.end()
    finally:
        memory.end()
    assert gateway.ledger_closes()
    assert memory.most <= 1.2 * memory.idle + 256 * MIB, f"{memory.idle // MIB} MiB idle, {memory.most // MIB} at most"
