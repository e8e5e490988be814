"""How large rows become by what spans share."""

from __future__ import annotations

import json

from otlp.batch import Request
from otlp.builder import SpanBatchBuilder
from otlp.decode_json import decode_json
from otlp.expansion import expanded_bytes

START = 1_795_304_410_482_000_000


def body(spans: int, text: str, scope: str = "", schema: str = "") -> bytes:
    """A request whose resource has an attribute of this text."""
    times = {"startTimeUnixNano": str(START), "endTimeUnixNano": str(START)}
    made = [{"traceId": "a" * 32, "spanId": f"{number:016x}", **times} for number in range(1, spans + 1)]
    attribute = {"key": "key", "value": {"stringValue": text}}
    scope_spans = {"scope": {"name": scope}, "schemaUrl": schema, "spans": made}
    return json.dumps(
        {"resourceSpans": [{"resource": {"attributes": [attribute]}, "scopeSpans": [scope_spans]}]}
    ).encode()


def sizes(*bodies: bytes) -> list[int]:
    """The sizes of requests that are in one batch."""
    builder = SpanBatchBuilder()
    for each in bodies:
        decode_json(each, Request("default", START), builder)
    return expanded_bytes(builder.build()).tolist()


def test_each_span_has_a_copy_of_what_it_shares() -> None:
    """The texts of resource and scope count once for each span, request by request."""
    small, large = sizes(body(1, "x" * 100), body(1000, "x" * 100))
    assert large == 1000 * small
    assert small >= 103
    (with_scope,) = sizes(body(10, "x" * 100, scope="s" * 50, schema="u" * 7))
    assert with_scope == 10 * (small + 57)


def test_a_batch_without_spans_has_no_size() -> None:
    """A request without spans, or none at all, becomes nothing."""
    assert sizes(b'{"resourceSpans": []}') == [0]
    assert sizes() == []
