"""A destination in privacy mode: no prompt and no completion is on disk, in any file, at any time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from gateway.sample import sample_delivery
from tests.end_to_end.harness import JSON, PROTOBUF, Gateway, spans_of, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = """
destinations:
  default: {privacy: {mode: content}}
"""
CONTENT = re.compile(r"(trace|span)\.(input|output)|gen_ai\.(prompt|completion|input\.messages|output\.messages)")
PHRASES = (
    b"You match purchase orders",
    b"Invoice 88213",
    b"Which PO is it",
    b"find_po",
    b"Northwind",
    b"are enough to",
)


def content_of(document: dict[str, Any]) -> set[bytes]:
    """Every prompt and completion text in a delivery, in pieces short enough to lie within one compressed block."""
    texts = {
        attribute["value"]["stringValue"]
        for span in spans_of(document)
        for attribute in span["attributes"]
        if CONTENT.fullmatch(attribute["key"])
    }
    assert texts
    return {text[start : start + 40].encode() for text in texts for start in range(0, len(text) - 40, 40)}


def files_with(directory: Path, texts: set[bytes]) -> list[str]:
    """The files that hold one of the texts."""
    pattern = re.compile(b"|".join(map(re.escape, sorted(texts))))
    found = []
    for path in directory.rglob("*"):
        if path.is_file():
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # merged away by ClickHouse, or renamed in the spool
            if pattern.search(content):
                found.append(str(path.relative_to(directory)))
    return found


def test_no_content_is_in_any_file(make_gateway: Callable[..., Gateway]) -> None:
    """After the sample came as JSON and as protobuf, none of its content is in a file or view, but its usage is."""
    gateway = make_gateway(config=CONFIG).start()
    deliveries = [
        (JSON, sample_delivery("gen-1795304412-BBBBBBBBBBBBBBBBBBBB", 1795304412000000000)),
        (PROTOBUF, sample_delivery("gen-1795304413-CCCCCCCCCCCCCCCCCCCC", 1795304413000000000)),
    ]
    texts = {*PHRASES, *(text for _, document in deliveries for text in content_of(document))}
    for content_type, document in deliveries:
        gateway.deliver(document, content_type)
        assert files_with(gateway.data, texts) == []
    until(lambda: gateway.count("llm_calls") == 2)
    (call,) = gateway.query("SELECT DISTINCT Model, InputTokens, UserId FROM llm_calls")
    assert call == {"Model": "openai/gpt-5-mini", "InputTokens": 18432, "UserId": "u_58213"}
    (content,) = gateway.query(
        "SELECT groupUniqArray(Input || Output) AS texts, sum(length(Content)) AS keys FROM spans"
    )
    assert content == {"texts": [""], "keys": 0}
    everything = "concat(toString(tuple(*)), '')"
    for phrase in PHRASES:
        assert gateway.count("spans_data", f"position({everything}, {{text:String}}) > 0", text=phrase.decode()) == 0
    assert list((gateway.data / "spool" / "0").glob("*.stored"))
    assert files_with(gateway.directory, texts) == []
    assert gateway.stop() == 0
    assert files_with(gateway.directory, texts) == []


@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_content_is_kept_without_privacy_mode(gateway: Gateway, content_type: str) -> None:
    """Without privacy mode the same delivery keeps its content, so that the search above finds what it looks for."""
    seconds = 1795304414 + len(content_type)
    document = sample_delivery(f"gen-{seconds}-DDDDDDDDDDDDDDDDDDDD", seconds * 10**9)
    gateway.deliver(document, content_type)
    until(lambda: files_with(gateway.data / "spool", content_of(document)))
    trace_id = spans_of(document)[0]["traceId"]
    until(lambda: gateway.count("spans", "TraceId = {id:String} AND Input LIKE '%Which PO is it%'", id=trace_id) > 0)
