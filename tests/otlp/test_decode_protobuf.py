"""OTLP protobuf: values, refusals and malformed bodies; that it equals OTLP/JSON is tested with decode_json."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from otlp.batch import Request
from otlp.builder import SpanBatchBuilder
from otlp.decode_protobuf import decode_protobuf
from otlp.errors import PermanentError
from otlp.limits import BAD_END, BAD_SPAN_ID, BAD_START, BAD_TRACE_ID
from tests.otlp.messages import DEFAULT, LAST_TIME, batch_of, listed, plain

TRACE_ID, SPAN_ID = bytes(range(1, 17)), bytes(range(1, 9))


def _span(**fields: object) -> Span:
    required = {"trace_id": TRACE_ID, "span_id": SPAN_ID, "start_time_unix_nano": 1, "end_time_unix_nano": 2}
    return Span(**(required | fields))


def _request(*spans: Span) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])


_VALUES = {
    "text": AnyValue(string_value="ü"),
    "int": AnyValue(int_value=-(2**63)),
    "double": AnyValue(double_value=0.1),
    "bool": AnyValue(bool_value=False),
    "empty": AnyValue(),
    "bytes": AnyValue(bytes_value=b"\x00\xff"),
    "list": AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue()])),
    "map": AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(double_value=2))])),
}
_ATTRIBUTES = [KeyValue(key=key, value=value) for key, value in _VALUES.items()]
_WHOLE = _request(
    _span(
        name="n",
        parent_span_id=SPAN_ID,
        attributes=_ATTRIBUTES,
        events=[Span.Event(name="e", attributes=_ATTRIBUTES)],
        links=[Span.Link(trace_id=TRACE_ID, span_id=SPAN_ID, attributes=_ATTRIBUTES)],
    )
).SerializeToString()


def test_every_value_has_its_type() -> None:
    """Text, integers, doubles and booleans have a type of their own; everything else is OTLP/JSON text."""
    batch = batch_of(_request(_span(attributes=_ATTRIBUTES)))
    assert [entry[1:] for entry in listed(batch.span_attributes)] == [
        ("text", "STRING", "ü"),
        ("int", "INT", "-9223372036854775808"),
        ("double", "DOUBLE", "0.1"),
        ("bool", "BOOL", "false"),
        ("empty", "JSON", "{}"),
        ("bytes", "JSON", '{"bytesValue":"AP8="}'),
        ("list", "JSON", '{"arrayValue":{"values":[{"intValue":"1"},{}]}}'),
        ("map", "JSON", '{"kvlistValue":{"values":[{"key":"k","value":{"doubleValue":2.0}}]}}'),
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b""}, BAD_TRACE_ID),
        ({"trace_id": bytes(16)}, BAD_TRACE_ID),
        ({"trace_id": TRACE_ID + b"x"}, BAD_TRACE_ID),
        ({"span_id": b""}, BAD_SPAN_ID),
        ({"span_id": bytes(8)}, BAD_SPAN_ID),
        ({"span_id": TRACE_ID}, BAD_SPAN_ID),
        ({"start_time_unix_nano": 0}, BAD_START),
        ({"start_time_unix_nano": 2**63}, BAD_START),
        ({"end_time_unix_nano": 2**64 - 1}, BAD_END),
    ],
)
def test_a_bad_id_or_time_refuses_only_that_span(fields: dict[str, object], reason: str) -> None:
    """A span with an unusable id or time is refused with the reason, and its neighbours are kept."""
    batch = plain(batch_of(_request(_span(name="a"), _span(name="bad", **fields), _span(name="b"))))
    assert batch["spans"]["name"] == ["a", "b"]
    assert batch["rejections"] == {(0, reason): 1}


def test_times_are_exact_to_the_last_one() -> None:
    """Times are kept to the nanosecond up to the last that can be stored; an event's later time is clamped to it."""
    late = Span.Event(time_unix_nano=2**64 - 1)
    span = _span(start_time_unix_nano=LAST_TIME - 1, end_time_unix_nano=LAST_TIME, events=[late])
    batch = plain(batch_of(_request(span)))
    assert (batch["spans"]["start"], batch["spans"]["end"]) == ([LAST_TIME - 1], [LAST_TIME])
    assert batch["events"]["time"] == [LAST_TIME]


@pytest.mark.parametrize("body", [b"", _request().SerializeToString()])
def test_empty_envelopes_are_accepted(body: bytes) -> None:
    """A request without spans is accepted and nothing is refused."""
    builder = SpanBatchBuilder()
    decode_protobuf(body, DEFAULT, builder)
    batch = builder.build()
    assert len(batch) == 0
    assert list(batch.requests) == [DEFAULT]
    assert batch.rejections == ()


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    size, length = len(payload), bytearray()
    while size >= 128:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + payload


def _with_value(value: bytes) -> bytes:
    """A request whose only span has one attribute of this (serialized) value."""
    attribute = _field(9, _field(1, b"k") + _field(2, value))
    span = _span().SerializeToString() + attribute
    return _field(1, _field(2, _field(2, span)))


def _nested(levels: int) -> bytes:
    """A request with a list in a list in a list; protobuf's own classes refuse to build it."""
    value = b""
    for _ in range(levels):
        value = _field(5, _field(1, value))
    return _with_value(value)


def test_nesting_within_protobufs_limit_is_kept() -> None:
    """A value nested as deeply as protobuf allows keeps every level."""
    [entry] = listed(batch_of(ExportTraceServiceRequest.FromString(_nested(40))).span_attributes)
    assert entry[3].count("arrayValue") == 40


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b'{"resourceSpans":[]}',
        _request(_span(name="cut off")).SerializeToString()[:-1],
        # A name that is not UTF-8: field 5 of a span within its three envelopes
        _field(1, _field(2, _field(2, _field(5, b"\xff")))),
        _nested(200),
        _nested(20_000),
    ],
)
def test_what_is_not_the_message_is_refused_as_a_whole(body: bytes) -> None:
    """A malformed body raises PermanentError and the builder holds what it held before."""
    builder = SpanBatchBuilder()
    decode_protobuf(_request(_span(name="before")).SerializeToString(), DEFAULT, builder)
    mark = builder.mark()
    with pytest.raises(PermanentError, match=r"^(The body is not an OTLP protobuf|An attribute's value)") as caught:
        decode_protobuf(body, Request("other", 1), builder)
    assert caught.value.reason == "malformed"
    assert builder.mark() == mark
    assert plain(builder.build())["spans"]["name"] == ["before"]


@settings(deadline=None, max_examples=120)
@given(body=st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    """Arbitrary bytes give spans or PermanentError, and nothing else."""
    _decodes_or_refuses(body)


@settings(deadline=None, max_examples=120)
@given(place=st.integers(0, len(_WHOLE) - 1), byte=st.integers(0, 255))
def test_a_damaged_message_is_decoded_or_refused(place: int, byte: int) -> None:
    """A message with any one byte changed gives spans or PermanentError, and nothing else."""
    _decodes_or_refuses(_WHOLE[:place] + bytes([byte]) + _WHOLE[place + 1 :])


def _decodes_or_refuses(body: bytes) -> None:
    builder = SpanBatchBuilder()
    mark = builder.mark()
    try:
        decode_protobuf(body, DEFAULT, builder)
    except PermanentError:
        assert builder.mark() == mark
    plain(builder.build())
