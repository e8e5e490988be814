"""ClickHouse is away: spans are acknowledged, wait in the spool, and are exported when it comes."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import Gateway, request, span, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONFIG = """
exporters:
  clickhouse: {embedded: null, endpoint: "http://%s", timeout: 20s, retry_on_failure: {max_interval: 500ms}}
"""


@contextlib.contextmanager
def clickhouse_on(endpoint: str, directory: Path) -> Iterator[None]:
    """An embedded ClickHouse of the test's own on an endpoint."""
    command = [sys.executable, "-m", "exporters.clickhouse.embedded", "--path", str(directory / "clickhouse")]
    command += ["--port", endpoint.rpartition(":")[2], "--exit-with-stdin"]
    with (
        (directory / "clickhouse.log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log) as child,
    ):
        try:
            yield
        finally:
            child.terminate()
            child.wait(20)


def send(gateway: Gateway, first: int) -> None:
    """Have 20 spans acknowledged."""
    spans = (span("9" * 32, f"{number:016x}", 1_795_304_800_000_000_000) for number in range(first, first + 20))
    assert gateway.post(json.dumps(request(*spans)).encode()).status == 200


def test_spans_wait_in_the_spool_until_clickhouse_comes(
    make_gateway: Callable[..., Gateway], free_port: Callable[[], int], tmp_path: Path
) -> None:
    """With ClickHouse away at the start and again later, every span is taken, and stored once it answers."""
    endpoint = f"127.0.0.1:{free_port()}"
    gateway = make_gateway(config=CONFIG % endpoint)
    gateway.clickhouse = endpoint
    gateway.start()
    send(gateway, 1)
    until(lambda: gateway.metric("exporter_failures_total") > 0)
    assert gateway.metric("spool_spans") == 20
    assert gateway.ledger_closes()
    assert "ClickHouse is away; spans wait in the spool" in gateway.log
    with clickhouse_on(endpoint, tmp_path):
        until(gateway.is_drained)
        assert gateway.count("spans") == 20
    send(gateway, 21)
    failures = gateway.metric("exporter_failures_total")
    until(lambda: gateway.metric("exporter_failures_total") > failures)
    assert gateway.stop() == 0
    gateway.start()
    assert gateway.metric("spool_spans") == 20
    with clickhouse_on(endpoint, tmp_path):
        until(gateway.is_drained)
        assert gateway.count("spans") == 40
    assert gateway.ledger_closes()


@pytest.mark.slow
def test_a_clickhouse_that_hangs_delays_no_stop(
    make_gateway: Callable[..., Gateway], free_port: Callable[[], int]
) -> None:
    """While an insert waits for a ClickHouse that never answers, SIGTERM ends Tollgate within `shutdown_timeout`."""
    port = free_port()
    gateway = make_gateway(config=CONFIG % f"127.0.0.1:{port}" + "service: {shutdown_timeout: 3s}").start()
    with socket.create_server(("127.0.0.1", port)) as hanging:
        send(gateway, 1)
        connection, _ = hanging.accept()
        with connection:
            assert gateway.stop(signal.SIGTERM, seconds=5) == 0
    assert list((gateway.data / "spool" / "0").glob("*.sealed"))
