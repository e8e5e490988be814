"""OTLP/JSON: every allowed spelling is understood, what is wrong is refused without harm to anything else."""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otlp.batch import Request
from otlp.builder import SpanBatchBuilder
from otlp.decode_json import decode_json
from otlp.errors import PermanentError
from otlp.limits import BAD_END, BAD_SPAN_ID, BAD_START, BAD_TRACE_ID
from tests.otlp.messages import (
    DEFAULT,
    LAST_TIME,
    attributes,
    batch_of,
    document,
    good_requests,
    listed,
    plain,
    requests,
    span,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PROPERTY = settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])

VALID = document(
    span(
        parentSpanId="1112131415161718",
        traceState="k=v",
        name="chat",
        kind=3,
        status={"code": 2, "message": "no"},
        flags=1,
        attributes=attributes(
            {
                "text": "x",
                "count": 3,
                "cost": 0.5,
                "flag": True,
                "list": [1, "a"],
                "map": {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}},
                "bytes": {"bytesValue": "AAE="},
            }
        ),
        events=[{"timeUnixNano": "5", "name": "e", "attributes": attributes({"a": "b"}), "droppedAttributesCount": 1}],
        links=[{"traceId": "0f" * 16, "spanId": "0e" * 8, "attributes": attributes({"c": 1}), "flags": 3}],
        droppedAttributesCount=1,
        droppedEventsCount="2",
        droppedLinksCount=3,
    ),
    resource={"attributes": attributes({"service.name": "s"}), "droppedAttributesCount": 4},
    scope={"name": "scope", "version": "1", "attributes": attributes({"d": 1.5})},
)

JSON_KEYS = ("key", "value", "values", "stringValue", "intValue", "doubleValue", "boolValue", "arrayValue", "spans")
arbitrary_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from((10**30, "9" * 5000, "NaN", "-1", "", "0x10", "1e5", "a" * 16, " " * 32, "\u0661" * 32))
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(JSON_KEYS) | st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all nodes of a JSON document."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield from _places(child, (*path, name))


PLACES = list(_places(VALID))


def _replaced(path: tuple[Any, ...], value: Any) -> Any:
    """VALID with another node at `path`."""
    if not path:
        return value
    changed = copy.deepcopy(VALID)
    node = changed
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    return changed


def _one(**fields: Any) -> dict[str, list[Any]]:
    """The columns of the only span of a delivery."""
    columns: dict[str, list[Any]] = plain(batch_of(document(span(**fields))))["spans"]
    return columns


def _attribute(value: dict[str, Any]) -> tuple[str, str]:
    """The type and text of an attribute's value once decoded."""
    batch = batch_of(document(span(attributes=[{"key": "k", "value": value}])))
    [(_, _, value_type, text)] = listed(batch.span_attributes)
    return value_type, text


def _refusal(body: Any) -> PermanentError:
    """The error for a body that must be refused; the builder holds what it held before, and can still be built."""
    builder = SpanBatchBuilder()
    decode_json(json.dumps(document(span(name="before"))).encode(), DEFAULT, builder)
    mark = builder.mark()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(PermanentError) as caught:
        decode_json(raw, Request("other", 1), builder)
    assert builder.mark() == mark
    decode_json(json.dumps(document(span(name="after"))).encode(), DEFAULT, builder)
    batch = builder.build()
    assert plain(batch)["spans"]["name"] == ["before", "after"]
    assert [request.destination for request in batch.requests] == ["default", "default"]
    assert caught.value.reason == "malformed"
    return caught.value


@PROPERTY
@given(message=requests, spelling=st.randoms(use_true_random=False))
def test_json_and_protobuf_give_the_same_batch(message: ExportTraceServiceRequest, spelling: Random) -> None:
    """The same spans give the same batch in either encoding, however the JSON is spelled, refusals included."""
    builder = SpanBatchBuilder()
    decode_json(to_json(message, spelling), DEFAULT, builder)
    assert plain(builder.build()) == plain(batch_of(message))


@PROPERTY
@given(messages=st.lists(good_requests, min_size=2, max_size=2), spelling=st.randoms(use_true_random=False))
def test_requests_in_one_batch_do_not_mix(messages: list[ExportTraceServiceRequest], spelling: Random) -> None:
    """A request's spans are the same in a batch of many requests as in one of their own, whatever their encodings."""
    whos = [Request(f"d{number}", number) for number in range(len(messages))]
    builder = SpanBatchBuilder()
    for message, who in zip(messages, whos, strict=True):
        decode_json(to_json(message, spelling), who, builder)
    together = builder.build()
    assert plain(together) == plain(batch_of(*messages, requests=whos))
    for row, (message, who) in enumerate(zip(messages, whos, strict=True)):
        alone = plain(batch_of(message, requests=[who]))
        part = plain(together.select(together.spans.request == row))
        for name in ("span_id", "name", "start"):
            assert part["spans"][name] == alone["spans"][name]
        for name in ("span_attributes", "event_attributes", "link_attributes"):
            assert part[name] == alone[name]


@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [
        ("0102030405060708090a0b0c0d0e0f10", "a1b2c3d4e5f60718"),
        ("0102030405060708090A0B0C0D0E0F10", "A1B2c3D4E5F60718"),
    ],
)
def test_ids_are_hex_in_any_case(trace_id: str, span_id: str) -> None:
    """Ids are read as hex digits of either case and kept in lower case."""
    columns = _one(traceId=trace_id, spanId=span_id, parentSpanId=span_id)
    assert columns["trace_id"] == ["0102030405060708090a0b0c0d0e0f10"]
    assert columns["span_id"] == columns["parent_span_id"] == ["a1b2c3d4e5f60718"]


@pytest.mark.parametrize("start", [1_795_304_410_482_000_001, "1795304410482000001"])
def test_times_are_exact_as_number_and_as_text(start: int | str) -> None:
    """A time keeps its last nanosecond, whether it comes as a number or as text."""
    assert _one(startTimeUnixNano=start)["start"] == [1_795_304_410_482_000_001]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"stringValue": ""}, ("STRING", "")),
        ({"stringValue": "grüße 🦉\u0000"}, ("STRING", "grüße 🦉\u0000")),
        ({"intValue": 42}, ("INT", "42")),
        ({"intValue": "42"}, ("INT", "42")),
        ({"intValue": "9223372036854775807"}, ("INT", "9223372036854775807")),
        ({"intValue": -9223372036854775808}, ("INT", "-9223372036854775808")),
        ({"intValue": 42.0}, ("INT", "42")),
        ({"doubleValue": 51}, ("DOUBLE", "51")),
        ({"doubleValue": 0.01246}, ("DOUBLE", "0.01246")),
        ({"doubleValue": 1e-06}, ("DOUBLE", "1e-06")),
        ({"doubleValue": "0.5"}, ("DOUBLE", "0.5")),
        ({"doubleValue": "1e-6"}, ("DOUBLE", "1e-06")),
        ({"doubleValue": "NaN"}, ("DOUBLE", "nan")),
        ({"doubleValue": "Infinity"}, ("DOUBLE", "inf")),
        ({"doubleValue": "-Infinity"}, ("DOUBLE", "-inf")),
        ({"boolValue": False}, ("BOOL", "false")),
        ({"boolValue": True}, ("BOOL", "true")),
        ({}, ("JSON", "{}")),
        (None, ("JSON", "{}")),
        ({"stringValue": None}, ("JSON", "{}")),
        ({"stringValue": None, "intValue": 7}, ("INT", "7")),
        ({"valueOfTheFuture": 1}, ("JSON", "{}")),
        ({"bytesValue": "AAE="}, ("JSON", '{"bytesValue":"AAE="}')),
        ({"arrayValue": {}}, ("JSON", '{"arrayValue":{"values":[]}}')),
        ({"kvlistValue": {"values": None}}, ("JSON", '{"kvlistValue":{"values":[]}}')),
        (
            {"arrayValue": {"values": [{"intValue": 5}, {"stringValue": None}, {"doubleValue": "NaN"}, {}]}},
            ("JSON", '{"arrayValue":{"values":[{"intValue":"5"},{},{"doubleValue":"NaN"},{}]}}'),
        ),
        (
            {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": True}, "x": 1}, {"key": "l"}]}},
            ("JSON", '{"kvlistValue":{"values":[{"key":"k","value":{"boolValue":true}},{"key":"l","value":{}}]}}'),
        ),
    ],
)
def test_values_keep_their_type(value: dict[str, Any], expected: tuple[str, str]) -> None:
    """Each attribute value has the type its field says; what has no column of its own is OTLP/JSON in one form."""
    assert _attribute(value) == expected


def test_an_attribute_without_a_key_has_the_empty_key() -> None:
    """An attribute whose key is null or missing has the empty key, as in protobuf, whatever its value is."""
    entries = [{"key": None, "value": {"stringValue": "a"}}, {"value": {"stringValue": "b"}}, {"key": None}]
    batch = batch_of(document(span(attributes=entries)))
    assert listed(batch.span_attributes) == [(0, "", "STRING", "a"), (0, "", "STRING", "b"), (0, "", "JSON", "{}")]


def test_a_double_of_exponent_form_is_read_from_raw_text() -> None:
    """Exponent forms that JSON allows are doubles, and a whole number without fraction is one too."""
    body = document(span(attributes=attributes({"a": 1.0, "b": 2.0})))
    raw = json.dumps(body).replace('{"doubleValue": 1.0}', '{"doubleValue": 1E+2}')
    raw = raw.replace('{"doubleValue": 2.0}', '{"doubleValue": -3}')
    builder = SpanBatchBuilder()
    decode_json(raw.encode(), DEFAULT, builder)
    assert listed(builder.build().span_attributes) == [(0, "a", "DOUBLE", "100"), (0, "b", "DOUBLE", "-3")]


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        (3, 2, (3, 2)),
        ("SPAN_KIND_CLIENT", "STATUS_CODE_ERROR", (3, 2)),
        ("3", "2", (3, 2)),
        (None, None, (0, 0)),
        (99, -1, (0, 0)),
    ],
)
def test_enums_come_as_numbers_or_names(kind: Any, code: Any, expected: tuple[int, int]) -> None:
    """Span kind and status code are understood as number and as name; a number from the future is unspecified."""
    columns = _one(kind=kind, status={"code": code})
    assert (columns["kind"][0], columns["status_code"][0]) == expected


def test_nulls_are_absent() -> None:
    """A field that is null counts as a field that is not there."""
    names = ("parentSpanId", "traceState", "name", "kind", "status", "flags", "attributes", "events", "links")
    counts = ("droppedAttributesCount", "droppedEventsCount", "droppedLinksCount")
    nulls = dict.fromkeys((*names, *counts))
    assert plain(batch_of(document(span(**nulls)))) == plain(batch_of(document(span())))


def test_unknown_fields_are_ignored() -> None:
    """Fields that OTLP does not know, snake_case ones among them, change nothing."""
    unknown = {"span_name": "x", "trace_id": 5, "futureField": {"a": [1]}}
    body = document(span() | unknown, resource=unknown, scope=unknown) | unknown
    assert plain(batch_of(body)) == plain(batch_of(document(span())))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b'{"resourceSpans":null}',
        b'{"resourceSpans":[]}',
        b'{"resourceSpans":[{}]}',
        b'{"resourceSpans":[{"resource":null,"scopeSpans":null}]}',
        b'{"resourceSpans":[{"scopeSpans":[{}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"scope":{},"spans":[]}]}]}',
        b'{"fieldOfTheFuture":1}',
    ],
)
def test_empty_envelopes_are_accepted(body: bytes) -> None:
    """A delivery without spans, such as a connection test, is a request of no spans and nothing is refused."""
    builder = SpanBatchBuilder()
    decode_json(body, DEFAULT, builder)
    batch = builder.build()
    assert len(batch) == 0
    assert list(batch.requests) == [DEFAULT]
    assert batch.rejections == ()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"traceId": ""}, BAD_TRACE_ID),
        ({"traceId": None}, BAD_TRACE_ID),
        ({"traceId": "0" * 32}, BAD_TRACE_ID),
        ({"traceId": "AQIDBAUGBwgJCgsMDQ4PEA=="}, BAD_TRACE_ID),
        ({"traceId": "zz" * 16}, BAD_TRACE_ID),
        ({"traceId": "01 02 03 04 05 06 07 08 09 0a 0b"}, BAD_TRACE_ID),
        ({"traceId": "01" * 15}, BAD_TRACE_ID),
        ({"traceId": 5}, BAD_TRACE_ID),
        ({"spanId": ""}, BAD_SPAN_ID),
        ({"spanId": "0" * 16}, BAD_SPAN_ID),
        ({"spanId": "01" * 9}, BAD_SPAN_ID),
        ({"spanId": "AQIDBAUGBwg="}, BAD_SPAN_ID),
        ({"startTimeUnixNano": 0}, BAD_START),
        ({"startTimeUnixNano": None}, BAD_START),
        ({"startTimeUnixNano": "-1"}, BAD_START),
        ({"startTimeUnixNano": 2**63}, BAD_START),
        ({"startTimeUnixNano": str(2**64)}, BAD_START),
        ({"endTimeUnixNano": 2**63}, BAD_END),
        ({"endTimeUnixNano": -1}, BAD_END),
    ],
)
def test_a_bad_id_or_time_refuses_only_that_span(fields: dict[str, Any], reason: str) -> None:
    """A span with an unusable id or time is refused with a reason that says which, and its neighbours are kept."""
    bad = span(**({"attributes": attributes({"lost": "x"}), "events": [{"name": "lost"}]} | fields))
    good = span(name="good", attributes=attributes({"kept": "y"}))
    batch = plain(batch_of(document(good, bad, good)))
    assert batch["spans"]["name"] == ["good", "good"]
    assert batch["span_attributes"] == [(0, "kept", "STRING", "y"), (1, "kept", "STRING", "y")]
    assert batch["events"]["name"] == []
    assert batch["rejections"] == {(0, reason): 1}
    subject = "trace id" if reason == BAD_TRACE_ID else "span id" if reason == BAD_SPAN_ID else "time"
    assert subject in reason


def test_refused_spans_are_counted_for_their_own_request() -> None:
    """Each request is told of its own refused spans and of no other's."""
    bad, good = span(traceId=""), span()
    requests = [Request("a", 1), Request("b", 2), Request("c", 3)]
    batch = plain(batch_of(document(bad, bad, good), document(good), document(good, bad), requests=requests))
    assert batch["rejections"] == {(0, BAD_TRACE_ID): 2, (2, BAD_TRACE_ID): 1}
    assert batch["spans"]["request"] == [0, 1, 2]


def test_the_last_and_first_times_are_accepted() -> None:
    """A span may start in the first and end in the last nanosecond that can be stored, and may end before it starts."""
    assert _one(startTimeUnixNano=1, endTimeUnixNano=str(LAST_TIME))["end"] == [LAST_TIME]
    assert _one(startTimeUnixNano=5, endTimeUnixNano=0)["end"] == [0]


def test_an_event_beyond_the_last_time_is_clamped() -> None:
    """An event's time that cannot be stored becomes the nearest one that can, and costs no span."""
    times = ["18446744073709551615", -5, None, 7]
    batch = plain(batch_of(document(span(events=[{"timeUnixNano": time} for time in times]))))
    assert batch["events"]["time"] == [LAST_TIME, 0, 0, 7]


def test_a_bad_id_of_a_parent_or_link_is_left_empty() -> None:
    """Ids that only refer to other spans are emptied when unusable; the span itself is good."""
    batch = plain(batch_of(document(span(parentSpanId="zz", links=[{"traceId": "x", "spanId": 5}]))))
    assert batch["spans"]["parent_span_id"] == [""]
    assert (batch["links"]["trace_id"], batch["links"]["span_id"]) == ([""], [""])


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"resourceSpans":[]',
        b'{"resourceSpans":[NaN]}',
        b"[]",
        b"5",
        b'"text"',
        {"resourceSpans": {}},
        {"resourceSpans": "x"},
        {"resourceSpans": [None]},
        {"resourceSpans": [[]]},
        {"resourceSpans": [{"resource": []}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": [5]}]}]},
        document(span(attributes={"gen_ai.system": "openai"})),
        document(span(), resource={"attributes": {"service.name": "x"}}),
        document(span(), scope={"attributes": {"k": "v"}}),
        document(span(attributes=[["k", "v"]])),
        document(span(attributes=["k"])),
        document(span(attributes=[{"key": 5, "value": {"stringValue": "x"}}])),
        document(span(attributes=[{"key": ["k"], "value": {"stringValue": "x"}}])),
        document(span(attributes=[{"key": {}, "value": {"intValue": 1}}])),
        document(span(attributes=[{"key": "k", "value": "x"}])),
        document(span(attributes=[{"key": "k", "value": {"stringValue": 5}}])),
        document(span(attributes=[{"key": "k", "value": {"intValue": 1.5}}])),
        document(span(attributes=[{"key": "k", "value": {"intValue": True}}])),
        document(span(attributes=[{"key": "k", "value": {"intValue": "9" * 5000}}])),
        document(span(attributes=[{"key": "k", "value": {"doubleValue": "many"}}])),
        document(span(attributes=[{"key": "k", "value": {"boolValue": "true"}}])),
        document(span(attributes=[{"key": "k", "value": {"arrayValue": []}}])),
        document(span(attributes=[{"key": "k", "value": {"kvlistValue": {"values": {"a": 1}}}}])),
        document(span(name=5)),
        document(span(kind="SPAN_KIND_FUTURE")),
        document(span(events={"name": "e"})),
        document(span(status="ok")),
    ],
)
def test_what_is_not_otlp_json_is_refused_as_a_whole(body: Any) -> None:
    """A malformed body raises PermanentError with a sentence for its sender, and its neighbours do not notice."""
    message = str(_refusal(body))
    assert message.startswith("The body is not an OTLP/JSON trace request: ")
    assert message.endswith(".")


def test_a_time_of_thousands_of_digits_is_refused() -> None:
    """A time of more digits than Python converts is refused like any other that is too late."""
    builder = SpanBatchBuilder()
    body = json.dumps(document(span(startTimeUnixNano="9" * 5000), span(name="good")))
    try:
        decode_json(body.encode(), DEFAULT, builder)
    except PermanentError:
        assert len(builder.build()) == 0
    else:
        assert plain(builder.build())["rejections"] == {(0, BAD_START): 1}


@pytest.mark.parametrize("levels", [60, 100, 400, 100_000])
def test_deep_nesting_is_stored_or_refused(levels: int) -> None:
    """A value nested however deeply is either decoded or refused; it never overflows a stack."""
    deep = '{"arrayValue":{"values":[' * levels + "{}" + "]}}" * levels
    raw = json.dumps(document(span(attributes=[{"key": "k", "value": {"deep": 1}}]))).replace('{"deep": 1}', deep)
    builder = SpanBatchBuilder()
    mark = builder.mark()
    try:
        decode_json(raw.encode(), DEFAULT, builder)
    except PermanentError:
        assert builder.mark() == mark
        assert levels > 60
    else:
        batch = builder.build()
        assert len(batch) + sum(rejection.count for rejection in batch.rejections) == 1
        assert levels > 60 or len(batch) == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"attributes": [{"key": "k", "value": {"intValue": str(2**63)}}]},
        {"events": [{"attributes": [{"key": "k", "value": {"intValue": -(2**63) - 1}}]}]},
        {"flags": 2**32},
        {"droppedAttributesCount": -1},
    ],
)
def test_a_value_that_cannot_be_held_costs_only_its_span(bad: dict[str, Any]) -> None:
    """A number out of its range refuses the span that it is in, with the reason; the other spans are decoded."""
    builder = SpanBatchBuilder()
    decode_json(json.dumps(document(span(), span(**bad), span(spanId="ee" * 8))).encode(), DEFAULT, builder)
    batch = builder.build()
    assert len(batch) == 2
    assert batch.span_attributes.owner.tolist() == sorted(batch.span_attributes.owner.tolist())
    (rejection,) = batch.rejections
    assert (rejection.request, rejection.count) == (0, 1)
    assert "must fit into" in rejection.reason


@settings(deadline=None, max_examples=120)
@given(place=st.sampled_from(PLACES), value=arbitrary_json)
def test_any_json_at_any_place_is_decoded_or_refused(place: tuple[Any, ...], value: Any) -> None:
    """Whatever JSON value stands at whatever place, the body gives sound spans, or PermanentError and none at all."""
    _decodes_or_refuses(json.dumps(_replaced(place, value)).encode())


@settings(deadline=None, max_examples=60)
@given(body=arbitrary_json.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    """Arbitrary JSON and arbitrary bytes as a body are decoded or refused with PermanentError."""
    _decodes_or_refuses(body)


def _decodes_or_refuses(body: bytes) -> None:
    builder = SpanBatchBuilder()
    decode_json(json.dumps(VALID).encode(), DEFAULT, builder)
    mark = builder.mark()
    try:
        decode_json(body, DEFAULT, builder)
    except PermanentError:
        assert builder.mark() == mark
    batch = builder.build()
    neighbour = plain(batch_of(VALID))
    assert plain(batch)["spans"]["name"][:1] == neighbour["spans"]["name"]
    assert [entry for entry in listed(batch.span_attributes) if entry[0] == 0] == neighbour["span_attributes"]
    assert all(type(key) is str for key in batch.span_attributes.keys)
    assert all(not math.isnan(time) and time > 0 for time in batch.spans.start.tolist())
