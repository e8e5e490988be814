"""Decodes OTLP/JSON into a batch under construction, as lenient as senders need and no more.

OTLP/JSON differs from protobuf's JSON in its hex ids (OTLP specification, "JSON Protobuf Encoding"). Numbers may come
as text, nulls mean absent, unknown fields are ignored, and enum names are understood though senders must not use them.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import orjson

from otlp.attributes import BOOL, DOUBLE, INT, JSON, STRING, json_double
from otlp.errors import PermanentError
from otlp.limits import BAD_END, BAD_SPAN_ID, BAD_START, BAD_TRACE_ID, MAX_TIME

if TYPE_CHECKING:
    from otlp.batch import Request
    from otlp.builder import AttributeLists, SpanBatchBuilder

_INTEGER = re.compile(r"-?[0-9]{1,40}")  # longer ones fit nowhere, and int() would refuse them
_KINDS = {
    "SPAN_KIND_UNSPECIFIED": 0,
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4,
    "SPAN_KIND_CONSUMER": 5,
}
_STATUS_CODES = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}

_ZERO_TRACE_ID, _ZERO_SPAN_ID = "0" * 32, "0" * 16

_MAX_EXACT_DOUBLE = 2**53
_SAFE_DIGITS = 19  # fewer always fit into 64 bits
_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1
_BAD_BODY = "The body is not an OTLP/JSON trace request"


class _MalformedError(ValueError):
    """Something in the body has a form that OTLP/JSON does not allow; the message says what."""


class _BadValueError(_MalformedError):
    """A value has the right form but cannot be held. It concerns only the span that it is in."""


def decode_json(body: bytes, request: Request, builder: SpanBatchBuilder) -> None:
    """Append the spans of an ExportTraceServiceRequest to `builder`.

    Spans with unusable ids or times are rejected one by one. A body that is not OTLP/JSON at all raises PermanentError
    and leaves the builder as it was.
    """
    mark = builder.mark()
    try:
        document = _message(orjson.loads(body) if body else {}, "the body")
        try:
            _decode_request(document, builder.add_request(request), builder)
        except _BadValueError:
            # Once more, this time with a way back before each span; in the hot path that would cost too much.
            builder.rollback(mark)
            _decode_request(document, builder.add_request(request), builder, span_by_span=True)
    except orjson.JSONDecodeError as error:
        builder.rollback(mark)
        raise PermanentError(f"{_BAD_BODY}: it is not valid JSON: {error}.", reason="malformed") from error
    except _MalformedError as error:
        builder.rollback(mark)
        raise PermanentError(f"{_BAD_BODY}: {error}.", reason="malformed") from error


def _decode_request(
    document: dict[str, Any], request: int, builder: SpanBatchBuilder, *, span_by_span: bool = False
) -> None:
    decode_span = _decode_span_or_reject if span_by_span else _decode_span
    for resource_spans in _messages(document, "resourceSpans"):
        resource = _message(resource_spans.get("resource"), "resource")
        row = builder.resources.add(
            request, _text(resource_spans, "schemaUrl"), _uint32(resource, "droppedAttributesCount")
        )
        _decode_attributes(resource, builder.resource_attributes, row)
        for scope_spans in _messages(resource_spans, "scopeSpans"):
            scope = _decode_scope(scope_spans, row, builder)
            for span in _messages(scope_spans, "spans"):
                decode_span(span, request, scope, builder)


def _decode_scope(scope_spans: dict[str, Any], resource: int, builder: SpanBatchBuilder) -> int:
    scope = _message(scope_spans.get("scope"), "scope")
    row = builder.scopes.add(
        resource,
        _text(scope, "name"),
        _text(scope, "version"),
        _text(scope_spans, "schemaUrl"),
        _uint32(scope, "droppedAttributesCount"),
    )
    _decode_attributes(scope, builder.scope_attributes, row)
    return row


def _decode_span_or_reject(span: dict[str, Any], request: int, scope: int, builder: SpanBatchBuilder) -> None:
    mark = builder.mark()
    try:
        _decode_span(span, request, scope, builder)
    except _BadValueError as error:
        builder.rollback(mark)
        builder.reject(request, f"a span has a value that cannot be stored: {error}")


def _decode_span(span: dict[str, Any], request: int, scope: int, builder: SpanBatchBuilder) -> None:
    trace_id = _hex_id(span.get("traceId"), 16)
    span_id = _hex_id(span.get("spanId"), 8)
    if trace_id is None or trace_id == _ZERO_TRACE_ID:
        return builder.reject(request, BAD_TRACE_ID)
    if span_id is None or span_id == _ZERO_SPAN_ID:
        return builder.reject(request, BAD_SPAN_ID)
    start, end = _integer(span, "startTimeUnixNano"), _integer(span, "endTimeUnixNano")
    if not 0 < start <= MAX_TIME:
        return builder.reject(request, BAD_START)
    if not 0 <= end <= MAX_TIME:
        return builder.reject(request, BAD_END)
    status = _message(span.get("status"), "status")
    row = builder.spans.add(
        request,
        scope,
        trace_id,
        span_id,
        _hex_id(span.get("parentSpanId"), 8) or "",
        _text(span, "traceState"),
        _text(span, "name"),
        _text(status, "message"),
        _enum(span, "kind", _KINDS),
        _enum(status, "code", _STATUS_CODES),
        _uint32(span, "flags"),
        start,
        end,
        _uint32(span, "droppedAttributesCount"),
        _uint32(span, "droppedEventsCount"),
        _uint32(span, "droppedLinksCount"),
    )
    _decode_attributes(span, builder.span_attributes, row)
    for event in _messages(span, "events"):
        _decode_attributes(event, builder.event_attributes, _add_event(event, row, builder))
    for link in _messages(span, "links"):
        _decode_attributes(link, builder.link_attributes, _add_link(link, row, builder))
    return None


def _add_event(event: dict[str, Any], span: int, builder: SpanBatchBuilder) -> int:
    time = min(max(_integer(event, "timeUnixNano"), 0), MAX_TIME)
    return builder.events.add(span, time, _text(event, "name"), _uint32(event, "droppedAttributesCount"))


def _add_link(link: dict[str, Any], span: int, builder: SpanBatchBuilder) -> int:
    return builder.links.add(
        span,
        _hex_id(link.get("traceId"), 16) or "",
        _hex_id(link.get("spanId"), 8) or "",
        _text(link, "traceState"),
        _uint32(link, "flags"),
        _uint32(link, "droppedAttributesCount"),
    )


def _decode_attributes(owner: dict[str, Any], attributes: AttributeLists, row: int) -> None:
    entries = owner.get("attributes")
    if not entries:
        return
    if type(entries) is not list:
        raise _MalformedError('"attributes" must be a list of {"key": ..., "value": {...}}')
    codes, keys, types, strings = attributes.key_codes, attributes.key, attributes.type, attributes.strings
    ints, doubles, bools = attributes.ints, attributes.doubles, attributes.bools
    # What nearly every attribute is comes first and without a call; anything else takes the strict and slower way.
    for entry in entries:
        try:
            key, value = entry["key"], entry["value"]
            content = value.get("stringValue")
        except (KeyError, TypeError, AttributeError):
            keys.append(codes[_key(entry)])
            types.append(_decode_value(entry.get("value"), attributes))
            continue
        if type(key) is not str:
            key = _key(entry)
        if type(content) is str:
            strings.append(content)
            types.append(STRING)
        elif type(number := value.get("intValue")) is int and _MIN_INT64 <= number <= _MAX_INT64:
            ints.append(number)
            types.append(INT)
        elif type(number := value.get("doubleValue")) is float:
            doubles.append(number)
            types.append(DOUBLE)
        elif type(flag := value.get("boolValue")) is bool:
            bools.append(flag)
            types.append(BOOL)
        else:
            types.append(_decode_value(value, attributes))
        keys.append(codes[key])
    attributes.own(row)


def _key(entry: Any) -> str:
    if type(entry) is not dict:
        raise _MalformedError('an attribute must be {"key": ..., "value": {...}}')
    key = entry.get("key")
    if key is None:
        return ""
    if type(key) is not str:
        raise _MalformedError('an attribute\'s "key" must be text')
    return key


def _decode_value(value: Any, attributes: AttributeLists) -> int:
    """Append an AnyValue to the list of its type and return that type."""
    for name, content in _message(value, "an attribute's value").items():
        if content is None:
            continue
        if name == "stringValue":
            attributes.strings.append(_string(content))
            return STRING
        if name == "intValue":
            attributes.ints.append(_int64(content))
            return INT
        if name == "doubleValue":
            attributes.doubles.append(_double(content))
            return DOUBLE
        if name == "boolValue":
            attributes.bools.append(_bool(content))
            return BOOL
        if name in _NESTED:
            attributes.jsons.append(_nested_json({name: content}))
            return JSON
    attributes.jsons.append("{}")
    return JSON


def _nested_json(value: dict[str, Any]) -> str:
    try:
        return orjson.dumps(_normal(value)).decode()
    except (RecursionError, orjson.JSONEncodeError):
        raise _BadValueError("an attribute's value is nested too deeply") from None


def _normal(value: Any) -> dict[str, Any]:
    """An AnyValue in the one form in which it is stored: 64-bit integers as text, unknown fields and nulls left out."""
    for name, content in _message(value, "a nested value").items():
        if content is not None and name in _NORMAL_FORMS:
            return {name: _NORMAL_FORMS[name](content)}
    return {}


def _normal_array(content: Any) -> dict[str, Any]:
    return {"values": [_normal(value) for value in _list(_message(content, "arrayValue"), "values")]}


def _normal_kvlist(content: Any) -> dict[str, Any]:
    entries = _list(_message(content, "kvlistValue"), "values")
    return {"values": [{"key": _key(entry), "value": _normal(entry.get("value"))} for entry in entries]}


def _string(content: Any) -> str:
    if type(content) is not str:
        raise _MalformedError('a "stringValue" must be text')
    return content


def _int64(content: Any) -> int:
    if type(content) is str and len(content) < _SAFE_DIGITS and content.isascii() and content.isdecimal():
        return int(content)  # the form that the specification prescribes
    number = _number(content, "intValue")
    if not _MIN_INT64 <= number <= _MAX_INT64:
        raise _BadValueError('an "intValue" must fit into 64 bits')
    return number


def _double(content: Any) -> float:
    if (type(content) is str and "_" not in content) or type(content) is int:
        try:
            return float(content)
        except (ValueError, OverflowError):
            raise _MalformedError('a "doubleValue" must be a number, "NaN", "Infinity" or "-Infinity"') from None
    if type(content) is not float:
        raise _MalformedError('a "doubleValue" must be a number')
    return content


def _bytes(content: Any) -> str:
    """Base64 in its standard form; senders may also use the URL-safe alphabet and leave the padding out."""
    text = _string(content).rstrip("=").translate(_URL_SAFE)
    try:
        return base64.b64encode(base64.b64decode(text + "=" * (-len(text) % 4), validate=True)).decode()
    except ValueError:
        raise _MalformedError('a "bytesValue" must be base64') from None


def _bool(content: Any) -> bool:
    if type(content) is not bool:
        raise _MalformedError('a "boolValue" must be true or false')
    return content


_URL_SAFE = str.maketrans("-_", "+/")
_NESTED = frozenset({"arrayValue", "kvlistValue", "bytesValue"})
_NORMAL_FORMS = {
    "stringValue": _string,
    "intValue": lambda content: str(_int64(content)),
    "doubleValue": lambda content: json_double(_double(content)),
    "boolValue": _bool,
    "bytesValue": _bytes,
    "arrayValue": _normal_array,
    "kvlistValue": _normal_kvlist,
}


def _message(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if type(value) is not dict:
        raise _MalformedError(f"{name} must be an object")
    return value


def _list(owner: dict[str, Any], name: str) -> list[Any]:
    values = owner.get(name)
    if values is None:
        return []
    if type(values) is not list:
        raise _MalformedError(f'"{name}" must be a list')
    return values


def _messages(owner: dict[str, Any], name: str) -> list[dict[str, Any]]:
    values = _list(owner, name)
    for value in values:
        if type(value) is not dict:
            raise _MalformedError(f'"{name}" must be a list of objects')
    return values


def _text(owner: dict[str, Any], name: str) -> str:
    value = owner.get(name)
    if value is None:
        return ""
    if type(value) is not str:
        raise _MalformedError(f'"{name}" must be text')
    return value


def _number(value: Any, name: str) -> int:
    if type(value) is int:
        return value
    if type(value) is str and _INTEGER.fullmatch(value):
        return int(value)
    if type(value) is float and value.is_integer():
        if abs(value) > _MAX_EXACT_DOUBLE:
            raise _BadValueError(f'"{name}" must fit into 64 bits, and be written without fraction or exponent')
        return int(value)
    raise _MalformedError(f'"{name}" must be an integer, as a number or as decimal text')


def _integer(owner: dict[str, Any], name: str) -> int:
    value = owner.get(name)
    return 0 if value is None else _number(value, name)


def _uint32(owner: dict[str, Any], name: str) -> int:
    value = owner.get(name)
    if value is None:
        return 0
    number = _number(value, name)
    if not 0 <= number < 2**32:
        raise _BadValueError(f'"{name}" must fit into 32 bits')
    return number


def _enum(owner: dict[str, Any], name: str, names: dict[str, int]) -> int:
    value = owner.get(name)
    if value is None:
        return 0
    if type(value) is str and value in names:
        return names[value]
    number = _number(value, name)
    return number if 0 <= number < len(names) else 0


def _hex_id(value: Any, size: int) -> str | None:
    """The id as lower-case hex text, or None if it is not `size` bytes of hex."""
    if type(value) is not str or len(value) != 2 * size:
        return None
    try:
        raw = bytes.fromhex(value)
    except ValueError:
        return None
    return raw.hex() if len(raw) == size else None
