"""Privacy: where a destination wants no content, no byte of it leaves the processor; elsewhere nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from otlp.batch import Request
from tests.otlp.messages import attributes, batch_of, document, rows_of, span
from tests.processors.chain import process, sample, sample_spans, sdk
from tests.rows import encode

OPEN, PRIVATE = Request("open", 1), Request("private", 2)
CONTENT_KEYS = ("gen_ai.prompt", "gen_ai.completion", "trace.input", "trace.output", "span.input", "span.output")
FRAGMENTS = (
    b"Northwind",
    b"purchase orders",
    b"88213",
    b"find_po",
    b"call_7Qp2",
    b"The vendor and the total",
    b"rawRequest",
    b"Look up a purchase order",
)
SECRET = "the caller's secret"


def _encoded(*deliveries: Any, requests: list[Request], processors: tuple[str, ...] = ()) -> tuple[bytes, list[Any]]:
    """The rows as bytes and as data."""
    rows = encode(process(batch_of(*deliveries, requests=requests), *processors))
    return rows.serialize().to_pybytes(), rows_of(rows)


def _everywhere(key: str) -> dict[str, Any]:
    """A delivery that holds a secret under this key in every place that has attributes."""
    hidden = {"attributes": attributes({key: SECRET, "kept": 7})}
    return document(span(**hidden, events=[{"name": "e"} | hidden], links=[hidden]), resource=hidden, scope=hidden)


@pytest.mark.parametrize("processors", [(), ("privacy",)])
def test_no_content_of_the_sample_remains(processors: tuple[str, ...]) -> None:
    """Nothing of the sample's prompt and completion is left in the encoded rows, whatever copies it came in."""
    open_bytes, _ = _encoded(sample(), requests=[OPEN], processors=processors)
    private_bytes, rows = _encoded(sample(), requests=[PRIVATE], processors=processors)
    for fragment in FRAGMENTS:
        assert fragment in open_bytes
        assert fragment not in private_bytes
    for row in rows:
        assert (row["Content"], row["ContentSameAs"]) == ([], [])


def test_usage_survives() -> None:
    """Everything that is no content stays: counts, costs, names, metadata and identifiers."""
    _, [open_root, *_] = _encoded(sample(), requests=[OPEN])
    _, [root, *_] = _encoded(sample(), requests=[PRIVATE])
    apart = {"Content", "ContentSameAs", "Destination", "IngestedAt", "Version", "Rank"}
    assert {name: value for name, value in root.items() if name not in apart} == {
        name: value for name, value in open_root.items() if name not in apart
    }
    assert root["SpanAttributesInt"]["gen_ai.usage.input_tokens"] == 18432
    assert "trace.metadata.openrouter_generation.upstream_raw_response_usage" in root["SpanAttributesString"]


def test_other_destinations_are_untouched() -> None:
    """In one batch, the request of the destination without privacy keeps every byte that it has alone."""
    _, alone = _encoded(sample(), requests=[OPEN])
    _, together = _encoded(sample(), sample(), sample(), requests=[PRIVATE, OPEN, PRIVATE])
    assert together[3:6] == alone
    assert set(alone[0]["Content"]) | set(alone[0]["ContentSameAs"]) == set(CONTENT_KEYS)
    assert [row["Content"] for row in together[:3] + together[6:]] == [[]] * 6


@pytest.mark.parametrize(
    "key",
    [
        *CONTENT_KEYS,
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.definitions",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.retrieval.query.text",
        "gen_ai.prompt.0.content",
        "gen_ai.completion.0.tool_calls.0.arguments",
        "gen_ai.event.content",
        "gen_ai.prompt.truncated",
        "exception.message",
        "exception.stacktrace",
        "span.status_message",
    ],
)
def test_content_goes_wherever_it_stands(key: str) -> None:
    """Content keys are dropped from spans, events, links, scopes and resources alike; their neighbours stay."""
    raw, [row] = _encoded(_everywhere(key), requests=[PRIVATE])
    assert SECRET.encode() not in raw
    assert key.encode() not in raw
    assert row["SpanAttributesInt"] == {"kept": 7}
    for column in ("ResourceAttributesJson", "ScopeAttributesJson"):
        assert row[column] == {"kept": '{"intValue":"7"}'}
    for column in ("Events.AttributesJson", "Links.AttributesJson"):
        assert row[column] == [{"kept": '{"intValue":"7"}'}]
    open_raw, _ = _encoded(_everywhere(key), requests=[OPEN])
    assert open_raw.count(SECRET.encode()) >= 5


@pytest.mark.parametrize("key", ["content", "body", "message", "tool_calls"])
def test_events_lose_content_under_general_names(key: str) -> None:
    """In events, content is dropped under names that on spans are the caller's own."""
    _, [row] = _encoded(_everywhere(key), requests=[PRIVATE])
    assert row["Events.AttributesString"] == [[]]
    assert row["SpanAttributesString"] == {key: SECRET}


def test_error_texts_go() -> None:
    """The status message and an exception's message may quote the prompt, so they go; that it failed stays."""
    delivery = sample()
    root = sample_spans(delivery)[0]
    root["status"] = {"code": 2, "message": SECRET}
    root["attributes"] += attributes({"span.status_message": SECRET})
    exception = {"exception.type": "ProviderError", "exception.message": SECRET, "exception.stacktrace": SECRET}
    root["events"] = [{"name": "exception", "timeUnixNano": "5", "attributes": attributes(exception)}]
    raw, [row, *_] = _encoded(delivery, delivery, requests=[PRIVATE, PRIVATE])
    assert SECRET.encode() not in raw
    assert (row["StatusCode"], row["StatusMessage"]) == ("Error", "")
    assert row["Events.AttributesString"] == [{"exception.type": "ProviderError"}]
    _, [kept, *_] = _encoded(delivery, requests=[OPEN])
    assert kept["StatusMessage"] == SECRET


@pytest.mark.parametrize(
    "value",
    [SECRET, [SECRET], {"kvlistValue": {"values": attributes({"content": SECRET})}}, {"bytesValue": "c2VjcmV0"}],
)
def test_content_of_every_type_goes(value: Any) -> None:
    """Content is dropped by its key, whether it is text, a list, a key-value list or bytes."""
    raw, [row] = _encoded(sdk({"gen_ai.input.messages": value}), requests=[PRIVATE])
    assert SECRET.encode() not in raw
    assert b"c2VjcmV0" not in raw
    assert row["SpanAttributesJson"] == []


def test_without_privacy_the_batch_is_left_alone() -> None:
    """Where no destination asks for privacy there is nothing to do."""
    batch = batch_of(sample(), requests=[OPEN])
    assert process(batch, "privacy") is batch
