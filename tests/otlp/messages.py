"""OTLP messages for tests: arbitrary ones, their OTLP/JSON in every allowed spelling, and batches as plain data.

The JSON is written here field by field and shares nothing with the decoders under test.
"""

from __future__ import annotations

import base64
import json
import math
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from google.protobuf.message import Message
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from otlp.batch import Request, SpanBatch
from otlp.builder import SpanBatchBuilder
from otlp.decode_json import decode_json
from otlp.decode_protobuf import decode_protobuf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otlp.attributes import Attributes

RECEIVED = 1_795_304_420_000_000_000
DEFAULT = Request("default", RECEIVED)
LAST_TIME = 2**63 - 1

_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_CODES = ("UNSET", "OK", "ERROR")
_TYPES = ("STRING", "INT", "DOUBLE", "BOOL", "JSON")


# Arbitrary messages

texts = st.text(st.characters(codec="utf-8"), max_size=12)
keys = st.sampled_from(
    ("gen_ai.prompt", "gen_ai.usage.input_tokens", "trace.metadata.team", "content", "service.name")
) | st.text(st.characters(codec="utf-8"), max_size=8)
int64s = st.sampled_from((0, -1, 2**53 + 1, 2**63 - 1, -(2**63))) | st.integers(-(2**63), 2**63 - 1)
doubles = st.sampled_from((0.0, -0.0, 51.0, 1e-06, 1e300, math.nan, math.inf, -math.inf)) | st.floats()
_uint32s = st.sampled_from((0, 1, 2**32 - 1)) | st.integers(0, 2**32 - 1)
_plain_values = st.one_of(
    st.just(AnyValue()),
    st.builds(AnyValue, string_value=texts),
    st.builds(AnyValue, int_value=int64s),
    st.builds(AnyValue, double_value=doubles),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, bytes_value=st.binary(max_size=6)),
)


def _array(values: list[AnyValue]) -> AnyValue:
    return AnyValue(array_value=ArrayValue(values=values))


def _kvlist(entries: list[KeyValue]) -> AnyValue:
    return AnyValue(kvlist_value=KeyValueList(values=entries))


any_values = st.recursive(
    _plain_values,
    lambda inner: (
        st.lists(inner, max_size=3).map(_array)
        | st.lists(st.builds(KeyValue, key=texts, value=inner), max_size=3).map(_kvlist)
    ),
    max_leaves=4,
)
_attributes = st.lists(st.builds(KeyValue, key=keys, value=any_values), max_size=3, unique_by=lambda entry: entry.key)
_trace_ids = st.binary(min_size=16, max_size=16)
_span_ids = st.binary(min_size=8, max_size=8)
_times = st.sampled_from((1, LAST_TIME)) | st.integers(1, LAST_TIME)
_schema_urls = st.sampled_from(("", "https://opentelemetry.io/schemas/1.37.0"))
_events = st.builds(
    Span.Event,
    time_unix_nano=st.integers(0, 2**64 - 1),
    name=texts,
    attributes=_attributes,
    dropped_attributes_count=_uint32s,
)
_links = st.builds(
    Span.Link,
    trace_id=_trace_ids | st.binary(max_size=3),
    span_id=_span_ids | st.binary(max_size=3),
    trace_state=texts,
    flags=_uint32s,
    attributes=_attributes,
    dropped_attributes_count=_uint32s,
)


def _spans(trace_ids: st.SearchStrategy[bytes], span_ids: st.SearchStrategy[bytes], times: Any) -> Any:
    return st.builds(
        Span,
        trace_id=trace_ids,
        span_id=span_ids,
        parent_span_id=_span_ids | st.just(b""),
        trace_state=texts,
        name=texts,
        kind=st.integers(0, 7),
        start_time_unix_nano=times,
        end_time_unix_nano=times,
        status=st.builds(Status, code=st.integers(0, 4), message=texts),
        flags=_uint32s,
        attributes=_attributes,
        events=st.lists(_events, max_size=1),
        links=st.lists(_links, max_size=1),
        dropped_attributes_count=_uint32s,
        dropped_events_count=_uint32s,
        dropped_links_count=_uint32s,
    )


def _requests(spans: Any) -> st.SearchStrategy[ExportTraceServiceRequest]:
    scope_spans = st.builds(
        ScopeSpans,
        scope=st.builds(
            InstrumentationScope, name=texts, version=texts, attributes=_attributes, dropped_attributes_count=_uint32s
        ),
        spans=st.lists(spans, max_size=2),
        schema_url=_schema_urls,
    )
    resource_spans = st.builds(
        ResourceSpans,
        resource=st.builds(Resource, attributes=_attributes, dropped_attributes_count=_uint32s),
        scope_spans=st.lists(scope_spans, max_size=2),
        schema_url=_schema_urls,
    )
    return st.builds(ExportTraceServiceRequest, resource_spans=st.lists(resource_spans, max_size=2))


good_requests = _requests(_spans(_trace_ids.filter(any), _span_ids.filter(any), _times))
"""Requests of which every span is acceptable."""

requests = _requests(
    _spans(
        _trace_ids | st.sampled_from((b"", bytes(16), b"short")),
        _span_ids | st.sampled_from((b"", bytes(8), b"much too long")),
        _times | st.sampled_from((0, 2**63, 2**64 - 1)),
    )
)
"""Requests of which some spans have ids or times that must be refused."""


# OTLP/JSON


def to_json(message: ExportTraceServiceRequest, spelling: Random) -> bytes:
    """The message as OTLP/JSON; `spelling` decides where the format leaves a choice."""
    document = _object(
        {"resourceSpans": [_resource_spans_json(entry, spelling) for entry in message.resource_spans]}, spelling
    )
    return json.dumps(document, ensure_ascii=spelling.random() < 0.5).encode()


def _object(fields: dict[str, Any], spelling: Random) -> dict[str, Any]:
    """An object with these fields: absent ones (None, empty, 0) left out, null or written, and some unknown fields."""
    items: list[tuple[str, Any]] = []
    for name, value in fields.items():
        if value or spelling.random() < 0.3:
            items.append((name, value))
        elif spelling.random() < 0.3:
            items.append((name, None))
    if spelling.random() < 0.2:
        items.append(("fieldOfTheFuture", {"deep": [1, None]}))
    spelling.shuffle(items)
    return dict(items)


def _resource_spans_json(entry: ResourceSpans, spelling: Random) -> dict[str, Any]:
    resource = {
        "attributes": _attributes_json(entry.resource.attributes, spelling),
        "droppedAttributesCount": _integer(entry.resource.dropped_attributes_count, spelling),
    }
    scope_spans = []
    for inner in entry.scope_spans:
        scope = {
            "name": inner.scope.name,
            "version": inner.scope.version,
            "attributes": _attributes_json(inner.scope.attributes, spelling),
            "droppedAttributesCount": _integer(inner.scope.dropped_attributes_count, spelling),
        }
        fields = {
            "scope": _object(scope, spelling),
            "spans": [_span_json(span, spelling) for span in inner.spans],
            "schemaUrl": inner.schema_url,
        }
        scope_spans.append(_object(fields, spelling))
    fields = {"resource": _object(resource, spelling), "scopeSpans": scope_spans, "schemaUrl": entry.schema_url}
    return _object(fields, spelling)


def _span_json(span: Span, spelling: Random) -> dict[str, Any]:
    status = {"code": _enum(span.status.code, "STATUS_CODE_", _CODES, spelling), "message": span.status.message}
    fields = {
        "traceId": _hex(span.trace_id, spelling),
        "spanId": _hex(span.span_id, spelling),
        "parentSpanId": _hex(span.parent_span_id, spelling),
        "traceState": span.trace_state,
        "name": span.name,
        "kind": _enum(span.kind, "SPAN_KIND_", _KINDS, spelling),
        "startTimeUnixNano": _integer(span.start_time_unix_nano, spelling),
        "endTimeUnixNano": _integer(span.end_time_unix_nano, spelling),
        "status": _object(status, spelling),
        "flags": _integer(span.flags, spelling),
        "attributes": _attributes_json(span.attributes, spelling),
        "events": [_event_json(event, spelling) for event in span.events],
        "links": [_link_json(link, spelling) for link in span.links],
        "droppedAttributesCount": _integer(span.dropped_attributes_count, spelling),
        "droppedEventsCount": _integer(span.dropped_events_count, spelling),
        "droppedLinksCount": _integer(span.dropped_links_count, spelling),
    }
    return _object(fields, spelling)


def _event_json(event: Span.Event, spelling: Random) -> dict[str, Any]:
    fields = {
        "timeUnixNano": _integer(event.time_unix_nano, spelling),
        "name": event.name,
        "attributes": _attributes_json(event.attributes, spelling),
        "droppedAttributesCount": _integer(event.dropped_attributes_count, spelling),
    }
    return _object(fields, spelling)


def _link_json(link: Span.Link, spelling: Random) -> dict[str, Any]:
    fields = {
        "traceId": _hex(link.trace_id, spelling),
        "spanId": _hex(link.span_id, spelling),
        "traceState": link.trace_state,
        "flags": _integer(link.flags, spelling),
        "attributes": _attributes_json(link.attributes, spelling),
        "droppedAttributesCount": _integer(link.dropped_attributes_count, spelling),
    }
    return _object(fields, spelling)


def _attributes_json(entries: Sequence[KeyValue], spelling: Random) -> list[dict[str, Any]]:
    return [
        _object({"key": entry.key, "value": value_json(entry.value, spelling)}, spelling) | {"key": entry.key}
        for entry in entries
    ]


def _hex(value: bytes, spelling: Random) -> str:
    return value.hex().upper() if spelling.random() < 0.3 else value.hex()


def _enum(number: int, prefix: str, names: Sequence[str], spelling: Random) -> int | str:
    if number < len(names) and spelling.random() < 0.3:
        return prefix + names[number]
    return number


def _integer(number: int, spelling: Random) -> int | str:
    return str(number) if spelling.random() < 0.5 else number


def value_json(value: AnyValue, spelling: Random) -> dict[str, Any]:
    """An AnyValue in one of its spellings."""
    match value.WhichOneof("value"):
        case "string_value":
            return {"stringValue": value.string_value}
        case "int_value":
            return {"intValue": _integer(value.int_value, spelling)}
        case "double_value":
            return {"doubleValue": _double(value.double_value, spelling)}
        case "bool_value":
            return {"boolValue": value.bool_value}
        case "bytes_value":
            return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
        case "array_value":
            values = [value_json(item, spelling) for item in value.array_value.values]
            return {"arrayValue": _object({"values": values}, spelling)}
        case "kvlist_value":
            return {"kvlistValue": _object({"values": _attributes_json(value.kvlist_value.values, spelling)}, spelling)}
        case _:
            return spelling.choice(({}, {"stringValue": None}, {"valueOfTheFuture": 1}))


def _double(number: float, spelling: Random) -> float | str:
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if spelling.random() < 0.3:
        return repr(number)
    if number.is_integer() and 0 < abs(number) < 2**53 and spelling.random() < 0.5:
        return int(number)
    return number


def normal_json(value: AnyValue) -> dict[str, Any]:
    """An AnyValue in the one form in which OTLP/JSON text is stored: 64-bit integers as text, nothing optional."""
    match value.WhichOneof("value"):
        case "array_value":
            return {"arrayValue": {"values": [normal_json(item) for item in value.array_value.values]}}
        case "kvlist_value":
            entries = [{"key": entry.key, "value": normal_json(entry.value)} for entry in value.kvlist_value.values]
            return {"kvlistValue": {"values": entries}}
        case "int_value":
            return {"intValue": str(value.int_value)}
        case "double_value" if math.isfinite(value.double_value):
            return {"doubleValue": value.double_value}
        case None:
            return {}
        case _:
            return value_json(value, Random(0))


# Batches


def batch_of(*deliveries: Any, requests: Sequence[Request] = ()) -> SpanBatch:
    """A batch of deliveries, each an OTLP/JSON document or a protobuf message; by default all to `default`."""
    builder = SpanBatchBuilder()
    for delivery, request in zip(deliveries, requests or [DEFAULT] * len(deliveries), strict=True):
        if isinstance(delivery, Message):
            decode_protobuf(delivery.SerializeToString(), request, builder)
        else:
            decode_json(json.dumps(delivery).encode(), request, builder)
    return builder.build()


def span(**fields: Any) -> dict[str, Any]:
    """A span in OTLP/JSON that has all that it must have."""
    required = {
        "traceId": "0102030405060708090a0b0c0d0e0f10",
        "spanId": "0102030405060708",
        "startTimeUnixNano": "1795304410482000000",
        "endTimeUnixNano": "1795304414698000000",
    }
    return required | fields


def document(*spans: dict[str, Any], resource: Any = None, scope: Any = None) -> dict[str, Any]:
    """A delivery in OTLP/JSON of spans that share a resource and a scope."""
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": list(spans)}]}]}


AWKWARD_TEXTS = (
    "",
    " 12 ",
    "12.0",
    "-1",
    "1e400",
    "1e-400",
    "1e9999999",
    "-1e9999999",
    "1e99999999999999999999",
    "999999.9999999999999",
    "1_000",
    "NaN",
    "sNaN",
    "-Infinity",
    "9" * 5000,
    "0x10",
    "[]",
    "[null]",
    '["stop"]',
    "[[]]",
    "{}",
    '{"arrayValue":5}',
    '{"arrayValue":null}',
    '{"arrayValue":{"values":[]}}',
    '{"arrayValue":{"values":[1]}}',
    '{"arrayValue":{"values":{}}}',
    "gen-1795304410-x",
    "gen-99999999999-x",
    "gen-1795304410-x:attempt-0",
)
"""Texts that senders may put where a number, a list or an id is expected."""


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    """OTLP/JSON attributes of plain values; a dict is taken for a finished AnyValue."""
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case dict():
            return value
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": value}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": value}


def listed(attributes: Attributes) -> list[tuple[int, str, str, str]]:
    """Owner, key, type and text of each attribute."""
    rows = np.arange(len(attributes), dtype=np.int32)
    names = [attributes.keys[key] for key in attributes.key.tolist()]
    types = [_TYPES[value_type] for value_type in attributes.type.tolist()]
    return list(zip(attributes.owner.tolist(), names, types, values(attributes.text(rows)), strict=True))


def values(column: Any) -> list[Any]:
    """The values of a column, whatever it is kept in."""
    return column.to_pylist() if hasattr(column, "to_pylist") else column.tolist()  # type: ignore[no-any-return]


def plain(batch: SpanBatch) -> dict[str, Any]:
    """A decoded batch as plain data that compares by value, whatever its columns are kept in."""
    data: dict[str, Any] = {"requests": list(batch.requests)}
    for name in ("resources", "scopes", "spans", "events", "links"):
        table = getattr(batch, name)
        data[name] = {column: values(getattr(table, column)) for column in table.__slots__}
    for owner in ("resource", "scope", "span", "event", "link"):
        data[f"{owner}_attributes"] = listed(getattr(batch, f"{owner}_attributes"))
    data["rejections"] = refusals(batch)
    return data


def refusals(batch: SpanBatch) -> dict[tuple[int, str], int]:
    """How many spans of each request were refused for each reason."""
    refused: dict[tuple[int, str], int] = {}
    for rejection in batch.rejections:
        place = (rejection.request, rejection.reason)
        refused[place] = refused.get(place, 0) + rejection.count
    return refused


def rows_of(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """Encoded rows as plain data: maps as dicts, times as nanoseconds."""
    columns: dict[str, list[Any]] = {}
    for field, column in zip(rows.schema, rows.columns, strict=True):
        columns[field.name] = [_plain_value(value) for value in _without_times(column).to_pylist()]
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _without_times(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64())
    if pa.types.is_list(column.type) and pa.types.is_timestamp(column.type.value_type):
        return column.cast(pa.list_(pa.int64()))
    return column


def _plain_value(value: Any) -> Any:
    """Arrow gives a map as a list of pairs."""
    if not isinstance(value, list):
        return value
    if value and all(isinstance(item, tuple) for item in value):
        return dict(value)
    return [_plain_value(item) for item in value]
