"""Rows: every span becomes one, in exactly the schema of the tables, and nothing of it is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings

from exporters.clickhouse.arrow import table_schemas
from exporters.clickhouse.rows import CALLS, SPANS, is_call, layout, project
from otlp.batch import Request
from otlp.content import is_content
from tests.otlp.messages import (
    LAST_TIME,
    attributes,
    batch_of,
    good_requests,
    normal_json,
    rows_of,
    span,
)
from tests.processors.chain import chat, process, sample, sdk
from tests.rows import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

KINDS = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"]
CODES = ["Unset", "Ok", "Error"]


def _rows(*deliveries: Any) -> list[dict[str, Any]]:
    return rows_of(encode(batch_of(*deliveries)))


def _rebuilt(row: dict[str, Any]) -> dict[str, str]:
    """A span's attributes as OTLP/JSON text, put together again from its maps."""
    held = {key: {"stringValue": value} for key, value in dict(row["SpanAttributesString"]).items()}
    held |= {key: {"intValue": str(value)} for key, value in dict(row["SpanAttributesInt"]).items()}
    held |= {key: {"doubleValue": value} for key, value in dict(row["SpanAttributesDouble"]).items()}
    held |= {key: {"boolValue": value} for key, value in dict(row["SpanAttributesBool"]).items()}
    held |= {key: json.loads(value) for key, value in dict(row["SpanAttributesJson"]).items()}
    return {key: repr(value) for key, value in held.items()}


def _sent(entries: Iterable[KeyValue]) -> dict[str, str]:
    """A span's attributes as they were sent, content apart; doubles that JSON has no number for as doubles."""
    sent = {}
    for entry in entries:
        if not is_content(entry.key):
            plain = entry.value.WhichOneof("value") == "double_value"
            sent[entry.key] = repr({"doubleValue": entry.value.double_value} if plain else normal_json(entry.value))
    return sent


def _others(texts: Any, jsons: Any) -> dict[str, Any]:
    """The attributes of anything but a span, put together again from its two maps."""
    held: dict[str, Any] = {key: {"stringValue": value} for key, value in dict(texts).items()}
    return held | {key: json.loads(value) for key, value in dict(jsons).items()}


def _normal(entries: Iterable[KeyValue]) -> dict[str, Any]:
    """The attributes of anything but a span as they were sent."""
    return {entry.key: normal_json(entry.value) for entry in entries}


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(message=good_requests)
def test_nothing_of_a_span_is_lost(message: ExportTraceServiceRequest) -> None:
    """From a row, all that the sender wrote can be read back: ids, times, counts, and every attribute with its type."""
    rows = iter(_rows(message))
    for resource_spans in message.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for sent in scope_spans.spans:
                row = next(rows)
                assert row["TraceId"] == sent.trace_id.hex()
                assert row["SpanId"] == sent.span_id.hex()
                assert row["ParentSpanId"] == sent.parent_span_id.hex()
                assert (row["TraceState"], row["SpanName"]) == (sent.trace_state, sent.name)
                assert (row["Timestamp"], row["EndTimestamp"]) == (sent.start_time_unix_nano, sent.end_time_unix_nano)
                assert row["Duration"] == max(sent.end_time_unix_nano - sent.start_time_unix_nano, 0)
                assert row["SpanKind"] == (KINDS[sent.kind] if sent.kind < len(KINDS) else KINDS[0])
                assert row["StatusCode"] == (CODES[sent.status.code] if sent.status.code < len(CODES) else CODES[0])
                assert (row["StatusMessage"], row["Flags"]) == (sent.status.message, sent.flags)
                assert row["DroppedAttributesCount"] == sent.dropped_attributes_count
                assert row["DroppedEventsCount"] == sent.dropped_events_count
                assert row["DroppedLinksCount"] == sent.dropped_links_count
                assert _rebuilt(row) == _sent(sent.attributes)
                assert row["ScopeName"] == scope_spans.scope.name
                assert row["ScopeVersion"] == scope_spans.scope.version
                assert row["ScopeSchemaUrl"] == scope_spans.schema_url
                assert row["ScopeDroppedAttributesCount"] == scope_spans.scope.dropped_attributes_count
                assert row["ResourceSchemaUrl"] == resource_spans.schema_url
                assert row["ResourceDroppedAttributesCount"] == resource_spans.resource.dropped_attributes_count
                for owner, held in (
                    (scope_spans.scope, _others(row["ScopeAttributesString"], row["ScopeAttributesJson"])),
                    (resource_spans.resource, _others(row["ResourceAttributesString"], row["ResourceAttributesJson"])),
                ):
                    assert held == _normal(owner.attributes)
                assert row["Events.Name"] == [event.name for event in sent.events]
                times = [min(event.time_unix_nano, LAST_TIME) for event in sent.events]
                assert row["Events.Timestamp"] == times
                assert row["Events.DroppedAttributesCount"] == [e.dropped_attributes_count for e in sent.events]
                assert row["Links.TraceState"] == [link.trace_state for link in sent.links]
                assert row["Links.Flags"] == [link.flags for link in sent.links]
                for name, owners in (("Events", sent.events), ("Links", sent.links)):
                    maps = zip(row[f"{name}.AttributesString"], row[f"{name}.AttributesJson"], strict=True)
                    assert [_others(*pair) for pair in maps] == [_normal(owner.attributes) for owner in owners]
    assert next(rows, None) is None


def test_rows_have_exactly_the_schema() -> None:
    """Rows have the columns of all tables, each once, in the types of the SQL, whatever processors were run."""
    names = [field.name for table in (SPANS, CALLS) for field in table_schemas()[table]]
    assert sorted(layout().wide.names) == sorted(set(names))
    for batch in (batch_of({}), batch_of(sample()), process(batch_of(sample(), sdk(chat())))):
        rows = encode(batch)
        rows.validate(full=True)
        assert rows.schema == layout().wide
        assert rows.num_rows == len(batch)
        for field, column in zip(rows.schema, rows.columns, strict=True):
            assert field.nullable or column.null_count == 0


def test_columns_that_no_processor_filled_are_empty() -> None:
    """Without processors, canonical text is empty, numbers are null, and no span is a call."""
    rows = encode(batch_of(sample()))
    for row in rows_of(rows):
        for name in ("Model", "Provider", "UserId", "CallId", "CostSource", "Source", "GenerationId"):
            assert row[name] == ""
        for name in ("InputTokens", "CostUsd", "TimeToFirstTokenMs"):
            assert row[name] is None
        assert row["IsTest"] is False
        assert row["Metadata"] == []
    assert not any(is_call(pa.Table.from_batches([rows])).to_pylist())


def test_each_row_knows_its_request() -> None:
    """A row carries its own request's destination and time of arrival, which is its version too."""
    batch = batch_of(sdk({}), sample(), sdk({}), requests=[Request("a", 5), Request("b", 6), Request("a", 7)])
    rows = rows_of(encode(batch))
    assert [row["Destination"] for row in rows] == ["a", "b", "b", "b", "a"]
    assert [row["IngestedAt"] for row in rows] == [5, 6, 6, 6, 7]
    assert [row["Version"] for row in rows] == [5, 6, 6, 6, 7]


def test_broadcasts_copy_ranks_above_any_sdks() -> None:
    """Broadcast's copy of a call outranks an SDK's however much later that came; among equals the later one stands."""
    batch = process(batch_of(sample(), sdk(chat()), sample(), requests=[Request("open", n) for n in (1, LAST_TIME, 2)]))
    first, later_sdk, later = (row["Rank"] for row in rows_of(encode(batch)) if row["CallId"])
    assert later > first > later_sdk


def test_resources_and_scopes_are_shared_by_their_spans() -> None:
    """Each span has the attributes of its own scope and resource, which several may share."""
    spans = [span(name=str(n)) for n in range(4)]
    delivery = {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes({"service.name": "one", "n": 1})},
                "scopeSpans": [
                    {"scope": {"name": "x", "attributes": attributes({"k": "x"})}, "spans": spans[:2]},
                    {"scope": {"name": "unused"}, "spans": []},
                    {"scope": {"name": "y"}, "spans": spans[2:3]},
                ],
            },
            {"resource": {"attributes": attributes({"service.name": "unused"})}},
            {"resource": {}, "scopeSpans": [{"spans": spans[3:]}]},
        ]
    }
    rows = _rows(delivery)
    assert [row["ScopeName"] for row in rows] == ["x", "x", "y", ""]
    assert [row["ScopeAttributesString"] or {} for row in rows] == [{"k": "x"}, {"k": "x"}, {}, {}]
    assert [row["ResourceAttributesString"] or {} for row in rows] == [{"service.name": "one"}] * 3 + [{}]
    assert [row["ResourceAttributesJson"] or {} for row in rows] == [{"n": '{"intValue":"1"}'}] * 3 + [{}]


def test_a_table_takes_its_own_columns() -> None:
    """Rows have the columns of all tables; each table takes its own, in order."""
    rows = pa.Table.from_batches([encode(process(batch_of(sample(), sdk(chat()), sdk({}))))])
    for table in (SPANS, CALLS):
        assert project(rows, table).schema == table_schemas()[table]
        assert project(rows, table).num_rows == 5
