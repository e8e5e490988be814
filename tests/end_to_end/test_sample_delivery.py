"""An OpenRouter delivery on its whole way: over HTTP and gRPC, again and again, across a restart."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from gateway.sample import sample_delivery
from tests.end_to_end.harness import JSON, PROTOBUF, VIEWS, Gateway, spans_of, to_protobuf, until

if TYPE_CHECKING:
    from collections.abc import Callable

GENERATION = "gen-1795304410-Kd83mQvZrT5nYx2LpHa7"
SAMPLE = sample_delivery(GENERATION, 1795304410482000000)
CALL = {
    "Model": "openai/gpt-5-mini",
    "ModelAuthor": "openai",
    "Provider": "Azure",
    "InputTokens": 18432,
    "CachedInputTokens": 16000,
    "OutputTokens": 742,
    "ReasoningTokens": 256,
    "CostUsd": Decimal("0.01246"),
    "CostSource": "reported",
    "UserId": "u_58213",
    "SessionId": "ap-2026-11-22-0093",
    "ApiKeyName": "ap-matcher-prod",
    "Metadata": {
        "environment": "production",
        "department": "finance-ops",
        "run_number": "42",
        "is_batch": "false",
        "cost_allocation.cost_center": "CC-4410",
        "cost_allocation.project.code": "AP-17",
        "cost_allocation.project.phase": "pilot",
        "labels": '["invoices","q4"]',
    },
}
ROWS = {"spans": 3, "llm_calls": 1, "otel_traces": 3, "OPENROUTER_TRACES": 3}


def export_over_grpc(gateway: Gateway) -> None:
    """Send the sample with a real gRPC client."""
    with grpc.insecure_channel(gateway.grpc) as channel:
        answer = TraceServiceStub(channel).Export(
            to_protobuf(SAMPLE), metadata=[("authorization", f"Bearer {gateway.key}")], timeout=10
        )
    assert not answer.HasField("partial_success")


def rows(gateway: Gateway) -> dict[str, int]:
    """How often each view counts the sample."""
    return {view: gateway.count(view) for view in VIEWS}


@pytest.mark.slow
def test_a_delivery_counts_once_however_often_and_however_it_comes(make_gateway: Callable[..., Gateway]) -> None:
    """The sample is one call with the right values, and stays one when sent ten times more, across a restart."""
    gateway = make_gateway().start()
    gateway.deliver(SAMPLE)
    until(lambda: gateway.metric("stored_spans_total") == 3 and gateway.is_drained())
    assert rows(gateway) == ROWS
    (call,) = gateway.query(f"SELECT {', '.join(CALL)} FROM llm_calls")
    assert call == CALL
    assert str(call["CostUsd"]) == "0.012460000000"
    for _ in range(3):
        export_over_grpc(gateway)
        gateway.deliver(SAMPLE, PROTOBUF)
    until(lambda: gateway.metric("stored_spans_total") == 21 and gateway.is_drained())
    assert rows(gateway) == ROWS
    assert gateway.ledger_closes()

    assert gateway.stop() == 0
    gateway.start()

    assert rows(gateway) == ROWS
    for _ in range(2):
        export_over_grpc(gateway)
        gateway.deliver(SAMPLE, JSON)
    until(lambda: gateway.metric("stored_spans_total") == 33 and gateway.is_drained())
    assert rows(gateway) == ROWS
    assert gateway.query(f"SELECT {', '.join(CALL)} FROM llm_calls") == [CALL]
    assert gateway.ledger_closes()


def test_send_sample_shows_what_clickhouse_holds(gateway: Gateway) -> None:
    """`tollgate send-sample` delivers a trace and prints its spans and its call as ClickHouse has them."""
    shown = gateway.run("send-sample")
    assert shown.returncode == 0, shown.stderr
    assert "spans: 3 rows" in shown.stdout
    assert "llm_calls: 1 row\n" in shown.stdout
    for text in ("openai/gpt-5-mini", "Azure", "0.01246", "reported", "cost_allocation.project.phase = pilot"):
        assert text in shown.stdout


def test_the_three_spans_keep_their_tree(gateway: Gateway) -> None:
    """Root, attempt and generation keep their ids and parents, and OPENROUTER_TRACES shows OpenRouter's own ids."""
    document = sample_delivery("gen-1795304411-AAAAAAAAAAAAAAAAAAAA", 1795304411000000000)
    gateway.deliver(document)
    sent = spans_of(document)
    trace_id = sent[0]["traceId"]
    until(lambda: gateway.count("spans", "TraceId = {id:String}", id=trace_id) == 3)
    stored = gateway.query(
        "SELECT SpanId, ParentSpanId, toUnixTimestamp64Nano(Timestamp) AS Start FROM spans WHERE TraceId = {id:String}",
        id=trace_id,
    )
    assert {(row["SpanId"], row["ParentSpanId"], row["Start"]) for row in stored} == {
        (one["spanId"], one.get("parentSpanId", ""), int(one["startTimeUnixNano"])) for one in sent
    }
    shown = gateway.query("SELECT * FROM OPENROUTER_TRACES WHERE TRACE_ID = 'gen-1795304411-AAAAAAAAAAAAAAAAAAAA'")
    assert len(shown) == 3
    assert json.loads(shown[0]["METADATA"])["department"] == "finance-ops"
