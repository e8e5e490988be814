"""Decodes OTLP protobuf into a batch under construction; upb parses, this module lays out columns."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otlp.attributes import BOOL, DOUBLE, INT, JSON, STRING, json_double
from otlp.errors import PermanentError
from otlp.limits import BAD_END, BAD_SPAN_ID, BAD_START, BAD_TRACE_ID, MAX_TIME

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

    from otlp.batch import Request
    from otlp.builder import AttributeLists, SpanBatchBuilder

_ZERO_TRACE_ID, _ZERO_SPAN_ID = bytes(16), bytes(8)
_SPAN_KINDS, _STATUS_CODES = 6, 3


def decode_protobuf(body: bytes, request: Request, builder: SpanBatchBuilder) -> None:
    """Append the spans of an ExportTraceServiceRequest to `builder`.

    Spans with unusable ids or times are rejected one by one. A body that is not such a message raises PermanentError
    and leaves the builder as it was.
    """
    try:
        message = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        text = "The body is not an OTLP protobuf trace request (ExportTraceServiceRequest): it cannot be parsed."
        raise PermanentError(text, reason="malformed") from error
    mark = builder.mark()
    try:
        _decode_request(message, builder.add_request(request), builder)
    except (RecursionError, orjson.JSONEncodeError) as error:
        builder.rollback(mark)
        raise PermanentError("An attribute's value is nested too deeply.", reason="malformed") from error


def _decode_request(message: ExportTraceServiceRequest, request: int, builder: SpanBatchBuilder) -> None:
    for resource_spans in message.resource_spans:
        resource = resource_spans.resource
        row = builder.resources.add(request, resource_spans.schema_url, resource.dropped_attributes_count)
        _decode_attributes(resource.attributes, builder.resource_attributes, row)
        for scope_spans in resource_spans.scope_spans:
            _decode_scope_spans(scope_spans, request, row, builder)


def _decode_scope_spans(scope_spans: ScopeSpans, request: int, resource: int, builder: SpanBatchBuilder) -> None:
    scope = scope_spans.scope
    row = builder.scopes.add(
        resource, scope.name, scope.version, scope_spans.schema_url, scope.dropped_attributes_count
    )
    _decode_attributes(scope.attributes, builder.scope_attributes, row)
    for span in scope_spans.spans:
        _decode_span(span, request, row, builder)


def _decode_span(span: Span, request: int, scope: int, builder: SpanBatchBuilder) -> None:
    trace_id, span_id, parent_id = span.trace_id, span.span_id, span.parent_span_id
    if len(trace_id) != 16 or trace_id == _ZERO_TRACE_ID:
        return builder.reject(request, BAD_TRACE_ID)
    if len(span_id) != 8 or span_id == _ZERO_SPAN_ID:
        return builder.reject(request, BAD_SPAN_ID)
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    if not 0 < start <= MAX_TIME:
        return builder.reject(request, BAD_START)
    if end > MAX_TIME:
        return builder.reject(request, BAD_END)
    status = span.status
    row = builder.spans.add(
        request,
        scope,
        trace_id.hex(),
        span_id.hex(),
        parent_id.hex() if len(parent_id) == 8 else "",
        span.trace_state,
        span.name,
        status.message,
        span.kind if 0 <= span.kind < _SPAN_KINDS else 0,
        status.code if 0 <= status.code < _STATUS_CODES else 0,
        span.flags,
        start,
        end,
        span.dropped_attributes_count,
        span.dropped_events_count,
        span.dropped_links_count,
    )
    _decode_attributes(span.attributes, builder.span_attributes, row)
    for event in span.events:
        time = min(event.time_unix_nano, MAX_TIME)
        event_row = builder.events.add(row, time, event.name, event.dropped_attributes_count)
        _decode_attributes(event.attributes, builder.event_attributes, event_row)
    for link in span.links:
        link_row = builder.links.add(
            row,
            link.trace_id.hex() if len(link.trace_id) == 16 else "",
            link.span_id.hex() if len(link.span_id) == 8 else "",
            link.trace_state,
            link.flags,
            link.dropped_attributes_count,
        )
        _decode_attributes(link.attributes, builder.link_attributes, link_row)
    return None


def _decode_attributes(entries: Any, attributes: AttributeLists, row: int) -> None:
    codes, keys, types = attributes.key_codes, attributes.key, attributes.type
    for entry in entries:
        value = entry.value
        match value.WhichOneof("value"):
            case "string_value":
                attributes.strings.append(value.string_value)
                types.append(STRING)
            case "int_value":
                attributes.ints.append(value.int_value)
                types.append(INT)
            case "double_value":
                attributes.doubles.append(value.double_value)
                types.append(DOUBLE)
            case "bool_value":
                attributes.bools.append(value.bool_value)
                types.append(BOOL)
            case _:
                attributes.jsons.append(orjson.dumps(_otlp_json(value)).decode())
                types.append(JSON)
        keys.append(codes[entry.key])
    attributes.own(row)


def _otlp_json(value: AnyValue) -> dict[str, Any]:
    """An AnyValue in its OTLP/JSON form, the same that decode_json stores."""
    match value.WhichOneof("value"):
        case "string_value":
            return {"stringValue": value.string_value}
        case "int_value":
            return {"intValue": str(value.int_value)}
        case "double_value":
            return {"doubleValue": json_double(value.double_value)}
        case "bool_value":
            return {"boolValue": value.bool_value}
        case "bytes_value":
            return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
        case "array_value":
            return {"arrayValue": {"values": [_otlp_json(item) for item in value.array_value.values]}}
        case "kvlist_value":
            entries = value.kvlist_value.values
            return {"kvlistValue": {"values": [{"key": item.key, "value": _otlp_json(item.value)} for item in entries]}}
        case _:
            return {}
