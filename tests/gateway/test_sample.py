"""The sample delivery: shaped as OpenRouter's, with ids and times of its own each time."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.sample import generation_id, sample_delivery
from otlp.batch import Request
from otlp.builder import SpanBatchBuilder
from otlp.decode_json import decode_json

START = 1_767_323_045_000_000_000
GENERATION = generation_id(START // 10**9, bytes(range(20)))


def spans(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All spans of a delivery."""
    return [
        span for resource in document["resourceSpans"] for scope in resource["scopeSpans"] for span in scope["spans"]
    ]


def test_a_delivery_is_a_root_an_attempt_and_a_generation() -> None:
    """Three spans of one trace, two of them the root's children, as OpenRouter sends them."""
    root, attempt, generation = spans(sample_delivery(GENERATION, START))
    assert "parentSpanId" not in root
    assert attempt["parentSpanId"] == generation["parentSpanId"] == root["spanId"]
    assert len({span["spanId"] for span in (root, attempt, generation)}) == 3
    assert {span["traceId"] for span in (root, attempt, generation)} == {root["traceId"]}
    assert re.fullmatch("[0-9a-f]{32}", root["traceId"])
    assert all(re.fullmatch("[0-9a-f]{16}", span["spanId"]) for span in (root, attempt, generation))


def test_its_ids_and_times_are_the_given_ones() -> None:
    """The generation's id is everywhere and the template's nowhere; the first span begins at the given time."""
    document = sample_delivery(GENERATION, START)
    assert set(re.findall("gen-[0-9]+-[0-9A-Za-z]+", json.dumps(document))) == {GENERATION}
    first = spans(document)[0]
    assert int(first["startTimeUnixNano"]) == START
    for span in spans(document):
        assert START <= int(span["startTimeUnixNano"]) < int(span["endTimeUnixNano"]) < START + 60 * 10**9


def test_one_generation_is_always_one_delivery() -> None:
    """The same generation gives the same delivery, so that one that is sent twice is stored once."""
    assert sample_delivery(GENERATION, START) == sample_delivery(GENERATION, START)


def test_two_generations_share_no_id() -> None:
    """Samples that are sent one after the other are spans of their own, and the template stays as it is."""
    one, other = (spans(sample_delivery(generation, START)) for generation in (GENERATION, f"{GENERATION[:-1]}x"))
    ids = [span["spanId"] for span in (*one, *other)]
    assert len(set(ids)) == 6
    assert one[0]["traceId"] != other[0]["traceId"]
    assert [len(span["attributes"]) for span in one] == [len(span["attributes"]) for span in other]


def test_a_delivery_can_be_changed_without_harm() -> None:
    """What a caller does to a delivery is not seen in the next one."""
    spans(sample_delivery(GENERATION, START))[0]["attributes"].clear()
    assert spans(sample_delivery(GENERATION, START))[0]["attributes"]


@given(st.integers(0, 2_000_000_000), st.binary(min_size=20, max_size=64))
def test_a_generation_s_id_has_its_second_and_twenty_digits(seconds: int, random: bytes) -> None:
    """Ids look like OpenRouter's, whatever the random bytes are."""
    assert re.fullmatch(rf"gen-{seconds}-[0-9A-Za-z]{{20}}", generation_id(seconds, random))


def test_a_delivery_is_valid_otlp() -> None:
    """Tollgate's own decoder takes every span of it."""
    builder = SpanBatchBuilder()
    decode_json(json.dumps(sample_delivery(GENERATION, START)).encode(), Request("default", START), builder)
    batch = builder.build()
    assert not batch.rejections
    assert len(batch.spans.request) == 3
