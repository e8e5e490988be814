"""The promise of an acknowledgement: the span is in ClickHouse, once, whatever is stopped or killed in between."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from typing import TYPE_CHECKING, Self

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from tests.end_to_end.harness import Gateway, request, span, to_protobuf, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

START = 1_795_305_000_000_000_000
PER_REQUEST = 5


class Traffic:
    """Senders over HTTP and gRPC that do not stop for errors; `acknowledged` holds the ids of spans that were taken."""

    def __init__(self, gateway: Gateway, trace_id: str) -> None:
        self.acknowledged: set[str] = set()
        self._gateway = gateway
        self._trace_id = trace_id
        self._numbers = itertools.count(1)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._over_http, self._over_grpc)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def flows(self, requests: int = 50) -> None:
        """Wait until this many more requests are acknowledged."""
        target = len(self.acknowledged) + requests * PER_REQUEST
        until(lambda: len(self.acknowledged) >= target)

    def _next(self) -> tuple[dict[str, object], list[str]]:
        ids = [f"{next(self._numbers):016x}" for _ in range(PER_REQUEST)]
        return request(*(span(self._trace_id, one, START + int(one, 16)) for one in ids)), ids

    def _over_http(self) -> None:
        while not self._ended.is_set():
            document, ids = self._next()
            try:
                if self._gateway.post(json.dumps(document).encode()).status == 200:
                    self.acknowledged.update(ids)
            except OSError:
                self._ended.wait(0.05)

    def _over_grpc(self) -> None:
        options = [("grpc.max_reconnect_backoff_ms", 100), ("grpc.initial_reconnect_backoff_ms", 50)]
        with grpc.insecure_channel(self._gateway.grpc, options) as channel:
            export = TraceServiceStub(channel).Export
            while not self._ended.is_set():
                document, ids = self._next()
                try:
                    export(to_protobuf(document), metadata=[("x-api-key", self._gateway.key)], timeout=5)
                    self.acknowledged.update(ids)
                except grpc.RpcError:
                    self._ended.wait(0.05)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Gateway]:
    """A gateway that these tests stop, kill and start."""
    made = Gateway(tmp_path_factory.mktemp("durability"), free_port)
    try:
        yield made.start()
    finally:
        made.stop()


def assert_stored_once(gateway: Gateway, trace_id: str, acknowledged: set[str]) -> None:
    """Every acknowledged span is in `spans`, and none is there twice."""
    until(gateway.is_drained)
    rows = gateway.query("SELECT SpanId FROM spans WHERE TraceId = {id:String}", id=trace_id)
    stored = [row["SpanId"] for row in rows]
    assert len(stored) == len(set(stored))
    assert acknowledged - set(stored) == set()
    assert gateway.ledger_closes()


def test_sigterm_while_spans_flow_loses_nothing(gateway: Gateway) -> None:
    """SIGTERM ends it with status 0 within 10 s, and what it acknowledged is there after the next start."""
    trace_id = "1" * 32
    with Traffic(gateway, trace_id) as traffic:
        traffic.flows()
        assert gateway.stop(signal.SIGTERM, seconds=10) == 0
    assert not list((gateway.data / "spool").glob("*.open"))
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
