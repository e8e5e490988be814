"""The builder: what is added comes out in order, and what is rolled back never was."""

from __future__ import annotations

import json

import pytest

from otlp.batch import Rejection, Request
from otlp.builder import SpanBatchBuilder
from otlp.decode_json import decode_json
from tests.otlp.messages import DEFAULT, attributes, batch_of, document, plain, span

FULL = document(
    span(
        attributes=attributes({"a": "x", "b": 1, "c": 0.5, "d": True, "e": [1]}),
        events=[{"name": "e", "attributes": attributes({"f": "y"})}],
        links=[{"attributes": attributes({"g": 2})}],
    ),
    span(traceId=""),
    resource={"attributes": attributes({"h": "z"})},
    scope={"attributes": attributes({"i": "s"})},
)


def test_requests_are_numbered_in_order() -> None:
    """Each request gets the next row, and spans of later requests follow those of earlier ones."""
    builder = SpanBatchBuilder()
    assert [builder.add_request(Request(name, 1)) for name in ("a", "b", "c")] == [0, 1, 2]
    assert [request.destination for request in builder.build().requests] == ["a", "b", "c"]


def test_an_empty_builder_builds_an_empty_batch() -> None:
    """A builder to which nothing was added gives a batch of nothing."""
    batch = SpanBatchBuilder().build()
    assert len(batch) == 0
    assert list(batch.requests) == []
    assert batch.rejections == ()


def test_a_refused_span_is_noted_with_its_request() -> None:
    """A refused span counts as one of its request, with the reason given."""
    builder = SpanBatchBuilder()
    row = builder.add_request(DEFAULT)
    builder.reject(row, "no good")
    assert builder.build().rejections == (Rejection(row, 1, "no good"),)


def test_rolling_back_cuts_off_everything_since_the_mark() -> None:
    """After a rollback the builder is as it was at the mark, rows, values, requests and refusals alike."""
    builder = SpanBatchBuilder()
    decode_json(json.dumps(FULL).encode(), DEFAULT, builder)
    mark = builder.mark()
    decode_json(json.dumps(FULL).encode(), Request("other", 2), builder)
    assert builder.mark() != mark
    builder.rollback(mark)
    assert builder.mark() == mark
    decode_json(json.dumps(FULL).encode(), DEFAULT, builder)
    assert plain(builder.build()) == plain(batch_of(FULL, FULL))


@pytest.mark.parametrize("column", ["start", "end", "kind", "flags", "request", "scope"])
def test_columns_have_the_length_of_their_table(column: str) -> None:
    """Every column has one element for each span that was kept."""
    batch = batch_of(FULL, FULL)
    assert len(getattr(batch.spans, column)) == len(batch) == 2
