"""The OpenTelemetry Python SDK as a sender, with its own exporters over HTTP and gRPC."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from tests.end_to_end.harness import Gateway, until

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

SPANS = 1_000
_TYPES = {str: "String", bool: "Bool", int: "Int", float: "Double", tuple: "Json"}
_LISTS = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}


def work(exporter: SpanExporter, service: str) -> list[ReadableSpan]:
    """Make SPANS spans as an instrumented program does; returns them once they are exported."""
    finished = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": service, "replica": 3}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(finished))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=20))
    tracer = provider.get_tracer("end-to-end", "1.2.3", attributes={"scope.level": 7})
    with tracer.start_as_current_span("root", kind=SpanKind.SERVER) as root:
        link = Link(root.get_span_context(), {"why": "related"})
        for number in range(SPANS - 1):
            with tracer.start_as_current_span(f"step {number % 5}", kind=SpanKind.CLIENT, links=[link]) as one:
                one.set_attributes(
                    {
                        "text": f"Grüße {number} 🚦",
                        "flag": number % 2 == 0,
                        "number": number * 9_000_000_000_000_007,
                        "negative": -number,
                        "ratio": number / 7,
                        "whole": float(number),
                        "names": ["a", "b"],
                        "numbers": [1, number],
                        "ratios": [0.5, float(number)],
                        "flags": [True, False],
                    }
                )
                one.add_event("tried", {"attempt": number, "by": "test"}, timestamp=1_795_304_410_000_000_001 + number)
                one.set_status(Status(StatusCode.ERROR, "no luck") if number % 3 == 0 else Status(StatusCode.OK))
    provider.shutdown()
    return list(finished.get_finished_spans())


def attributes_by_type(span: ReadableSpan) -> dict[str, dict[str, Any]]:
    """A span's attributes as Tollgate stores them: a map for each type, lists as OTLP/JSON."""
    expected: dict[str, dict[str, Any]] = {kind: {} for kind in _TYPES.values()}
    for key, value in (span.attributes or {}).items():
        if isinstance(value, tuple):
            texts = [{_LISTS[type(item)]: str(item) if type(item) is int else item} for item in value]
            expected["Json"][key] = {"arrayValue": {"values": texts}}
        else:
            expected[_TYPES[type(value)]][key] = value
    return expected


def as_sent(span: ReadableSpan) -> dict[str, Any]:
    """What must be stored of a span that the SDK exported."""
    assert span.context is not None
    return {
        "TraceId": f"{span.context.trace_id:032x}",
        "SpanId": f"{span.context.span_id:016x}",
        "ParentSpanId": f"{span.parent.span_id:016x}" if span.parent else "",
        "SpanName": span.name,
        "SpanKind": span.kind.name.capitalize(),
        "Start": span.start_time,
        "End": span.end_time,
        "StatusCode": span.status.status_code.name.capitalize(),
        "StatusMessage": span.status.description or "",
        "ScopeName": "end-to-end",
        "ScopeVersion": "1.2.3",
        "Events": [(event.timestamp, event.name) for event in span.events],
        "Links": [f"{link.context.span_id:016x}" for link in span.links],
        **attributes_by_type(span),
    }


STORED = """
SELECT TraceId, SpanId, ParentSpanId, SpanName, SpanKind, toUnixTimestamp64Nano(Timestamp) AS Start,
    toUnixTimestamp64Nano(EndTimestamp) AS End, StatusCode, StatusMessage, ScopeName, ScopeVersion,
    arrayZip(arrayMap(time -> toUnixTimestamp64Nano(time), Events.Timestamp), Events.Name) AS Events,
    Links.SpanId AS Links, SpanAttributesString AS String, SpanAttributesBool AS Bool, SpanAttributesInt AS Int,
    SpanAttributesDouble AS Double, SpanAttributesJson AS Json
FROM spans WHERE ServiceName = {service:String}
"""


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_every_span_of_the_sdk_arrives_whole(gateway: Gateway, transport: str) -> None:
    """1,000 spans of the SDK are stored with every attribute in its own type and every time to the nanosecond."""
    headers = {"authorization": f"Bearer {gateway.key}"}
    exporter: SpanExporter = (
        HttpExporter(f"{gateway.url}/v1/traces", headers=headers, compression=Compression.Gzip)
        if transport == "http"
        else GrpcExporter(gateway.grpc, insecure=True, headers=headers)
    )
    sent = {span["SpanId"]: span for span in map(as_sent, work(exporter, f"sdk-{transport}"))}
    assert len(sent) == SPANS
    until(lambda: gateway.count("spans", "ServiceName = {service:String}", service=f"sdk-{transport}") == SPANS)
    stored = {row["SpanId"]: row for row in gateway.query(STORED, service=f"sdk-{transport}")}
    for row in stored.values():
        row["Json"] = {key: json.loads(value) for key, value in row["Json"].items()}
    assert stored == sent
    (service,) = gateway.query(
        "SELECT DISTINCT ResourceAttributes['replica'] AS Replica, ScopeAttributesJson['scope.level'] AS Level "
        "FROM spans WHERE ServiceName = {service:String}",
        service=f"sdk-{transport}",
    )
    assert service == {"Replica": "3", "Level": '{"intValue":"7"}'}
