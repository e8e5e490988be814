"""Map columns: attributes by type, content apart and once, lists for events and links."""

from __future__ import annotations

from typing import Any

import pytest

from tests.otlp.messages import attributes, batch_of, document, rows_of, span
from tests.processors.chain import sample
from tests.rows import encode

NAN = {"doubleValue": "NaN"}


def _rows(*spans: dict[str, Any]) -> list[dict[str, Any]]:
    return rows_of(encode(batch_of(document(*spans))))


def test_each_type_has_its_map() -> None:
    """A span's attributes are in the map of their type: numbers stay numbers, the rest is OTLP/JSON text."""
    values = {"s": "x", "i": -(2**63), "d": 0.1, "b": False, "a": [1], "e": {}, "y": {"bytesValue": "AAE="}}
    [row] = _rows(span(attributes=attributes(values)))
    assert row["SpanAttributesString"] == {"s": "x"}
    assert row["SpanAttributesInt"] == {"i": -(2**63)}
    assert row["SpanAttributesDouble"] == {"d": 0.1}
    assert row["SpanAttributesBool"] == {"b": False}
    assert row["SpanAttributesJson"] == {
        "a": '{"arrayValue":{"values":[{"intValue":"1"}]}}',
        "e": "{}",
        "y": '{"bytesValue":"AAE="}',
    }


@pytest.mark.parametrize(
    ("value", "json"),
    [
        (7, '{"intValue":"7"}'),
        (0.5, '{"doubleValue":0.5}'),
        (NAN, '{"doubleValue":"NaN"}'),
        ({"doubleValue": "-Infinity"}, '{"doubleValue":"-Infinity"}'),
        (True, '{"boolValue":true}'),
        (["a"], '{"arrayValue":{"values":[{"stringValue":"a"}]}}'),
        ({}, "{}"),
    ],
)
def test_other_owners_have_text_and_json(value: Any, json: str) -> None:
    """Resources, scopes, events and links have their texts in one map and OTLP/JSON of all else in another."""
    held = {"attributes": attributes({"k": value, "t": "x"})}
    delivery = document(span(events=[held], links=[held]), resource=held, scope=held)
    [row] = rows_of(encode(batch_of(delivery)))
    for name in ("ResourceAttributes", "ScopeAttributes"):
        assert (row[f"{name}String"], row[f"{name}Json"]) == ({"t": "x"}, {"k": json})
    for name in ("Events.Attributes", "Links.Attributes"):
        assert (row[f"{name}String"], row[f"{name}Json"]) == ([{"t": "x"}], [{"k": json}])


def test_attributes_stay_with_their_spans() -> None:
    """Spans without attributes, or without those of a type, have empty maps between spans that have them."""
    rows = _rows(span(), span(attributes=attributes({"a": 1})), span(), span(attributes=attributes({"b": "x", "c": 2})))
    assert [row["SpanAttributesInt"] or {} for row in rows] == [{}, {"a": 1}, {}, {"c": 2}]
    assert [row["SpanAttributesString"] or {} for row in rows] == [{}, {}, {}, {"b": "x"}]


def test_content_is_apart() -> None:
    """Content is in its own map as text and in no other, whatever its type."""
    values = {"gen_ai.prompt": "p", "gen_ai.output.messages": ["m"], "gen_ai.completion.truncated": True, "k": "v"}
    [row] = _rows(span(attributes=attributes(values)))
    assert row["Content"] == {
        "gen_ai.prompt": "p",
        "gen_ai.output.messages": '{"arrayValue":{"values":[{"stringValue":"m"}]}}',
        "gen_ai.completion.truncated": "true",
    }
    assert row["SpanAttributesString"] == {"k": "v"}
    assert (row["SpanAttributesJson"], row["SpanAttributesBool"], row["ContentSameAs"]) == ([], [], [])


def test_equal_content_is_kept_once() -> None:
    """Of equal texts of one span the first is kept, and the keys of its copies lead to it."""
    root, *children = rows_of(encode(batch_of(sample())))
    assert set(root["Content"]) == {"trace.input", "trace.output"}
    assert root["ContentSameAs"] == {
        "span.input": "trace.input",
        "gen_ai.prompt": "trace.input",
        "span.output": "trace.output",
        "gen_ai.completion": "trace.output",
    }
    assert [(child["Content"], child["ContentSameAs"]) for child in children] == [([], [])] * 2


def test_content_of_different_spans_is_not_shared() -> None:
    """Equal texts of two spans are kept by both: a row can be read without any other."""
    rows = _rows(*(span(attributes=attributes({"gen_ai.prompt": "p", "span.input": text})) for text in ("p", "q", "p")))
    assert [row["Content"] for row in rows] == [
        {"gen_ai.prompt": "p"},
        {"gen_ai.prompt": "p", "span.input": "q"},
        {"gen_ai.prompt": "p"},
    ]
    same = {"span.input": "gen_ai.prompt"}
    assert [row["ContentSameAs"] or {} for row in rows] == [same, {}, same]


def test_events_and_links_are_lists_in_order() -> None:
    """A span's events and links keep their order, their values and their own attributes."""
    first = span(
        events=[
            {"timeUnixNano": 3, "name": "late", "attributes": attributes({"k": "1"}), "droppedAttributesCount": 2},
            {"timeUnixNano": 1, "name": "early"},
        ]
    )
    second = span(
        events=[{"name": "other", "attributes": attributes({"k": "2"})}],
        links=[
            {"traceId": "ab" * 16, "spanId": "cd" * 8, "traceState": "s=1", "flags": 257, "droppedAttributesCount": 4},
            {"traceId": "ef" * 16, "spanId": "01" * 8, "attributes": attributes({"n": 1})},
        ],
    )
    rows = _rows(span(), first, second)
    assert [row["Events.Name"] for row in rows] == [[], ["late", "early"], ["other"]]
    assert [row["Events.Timestamp"] for row in rows] == [[], [3, 1], [0]]
    assert [row["Events.DroppedAttributesCount"] for row in rows] == [[], [2, 0], [0]]
    assert [row["Events.AttributesString"] for row in rows] == [[], [{"k": "1"}, []], [{"k": "2"}]]
    assert [row["Links.TraceId"] for row in rows] == [[], [], ["ab" * 16, "ef" * 16]]
    assert rows[2]["Links.SpanId"] == ["cd" * 8, "01" * 8]
    assert rows[2]["Links.TraceState"] == ["s=1", ""]
    assert rows[2]["Links.Flags"] == [257, 0]
    assert rows[2]["Links.DroppedAttributesCount"] == [4, 0]
    assert rows[2]["Links.AttributesJson"] == [[], {"n": '{"intValue":"1"}'}]
