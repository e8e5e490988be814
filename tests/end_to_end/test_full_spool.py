"""The spool at its bound while ClickHouse is away: senders are refused, come back, and nothing is lost."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.end_to_end.harness import Gateway, request, span, to_protobuf, until

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_795_307_000_000_000_000
CONFIG = """
exporters:
  clickhouse:
    embedded: null
    endpoint: http://127.0.0.1:%d
    username: admin
    password: admin's
    retry_on_failure: {max_interval: 100ms}
service: {spool: {max_size: 200kB, segment_max_age: 50ms}}
"""
ADMIN = "exporters: {clickhouse: {embedded: {users: {admin: {role: admin, password: admin's}}}}}"
PADDING = [{"key": "padding", "value": {"stringValue": "x" * 10_000}}]


def fill(gateway: Gateway) -> int:
    """Send spans until one is refused; how many were taken."""
    taken = 0
    while True:
        one = span("f" * 32, f"{taken + 1:016x}", START + taken, attributes=PADDING)
        answer = gateway.post(json.dumps(request(one)).encode())
        if answer.status != 200:
            assert (answer.status, json.loads(answer.body)["code"]) == (503, 14)
            assert int(answer.headers["Retry-After"]) > 0
            assert "spool is full" in json.loads(answer.body)["message"]
            return taken
        taken += 1
        assert taken < 1000


@pytest.mark.slow
def test_senders_are_refused_until_clickhouse_is_back(
    make_gateway: Callable[..., Gateway], free_port: Callable[[], int]
) -> None:
    """At the bound HTTP has 503 and gRPC UNAVAILABLE with a delay; an SDK tries again by itself; all is stored once."""
    port = free_port()
    gateway = make_gateway(config=CONFIG % port).start()
    taken = fill(gateway)
    until(lambda: gateway.metric("spool_full") == 1)
    message = to_protobuf(request(span("f" * 32, "f" * 16, START)))
    with grpc.insecure_channel(gateway.grpc) as channel:
        export = TraceServiceStub(channel).Export
        with pytest.raises(grpc.RpcError) as refused:
            export(message, metadata=[("x-api-key", gateway.key)])
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    details = Status.FromString(dict(refused.value.trailing_metadata())["grpc-status-details-bin"])
    delay = RetryInfo()
    assert details.details[0].Unpack(delay)
    assert delay.retry_delay.seconds > 0
    exporter = OTLPSpanExporter(f"{gateway.url}/v1/traces", headers={"x-api-key": gateway.key}, timeout=60)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10))
    with provider.get_tracer("test").start_as_current_span("patient"):
        pass
    refusals = gateway.metric("receiver_requests_total")
    until(lambda: gateway.metric("receiver_requests_total") > refusals)
    clickhouse = make_gateway(config=ADMIN)
    clickhouse.clickhouse = f"127.0.0.1:{port}"
    clickhouse.environment["TOLLGATE_CLICKHOUSE_ENDPOINT"] = clickhouse.clickhouse
    began = time.monotonic()
    clickhouse.start()
    until(lambda: clickhouse.count("spans", "SpanName = 'patient'") == 1)
    provider.shutdown()
    until(gateway.is_drained)
    assert time.monotonic() - began < 60
    assert clickhouse.count("spans") == taken + 1
    until(lambda: gateway.metric("spool_full") == 0)
    assert gateway.ledger_closes()
