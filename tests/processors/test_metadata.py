"""The caller's own metadata: exactly what the caller gave, as text, with dotted keys for what is nested."""

from __future__ import annotations

from typing import Any

import pytest

from tests.otlp.messages import attributes, batch_of, document, span
from tests.processors.chain import openrouter, process, processed, sample, sdk


def _kvlist(values: dict[str, Any]) -> dict[str, Any]:
    return {"kvlistValue": {"values": attributes(values)}}


def _metadata(values: dict[str, Any]) -> dict[str, str]:
    [row] = processed(openrouter({f"trace.metadata.{key}": value for key, value in values.items()}))
    metadata: dict[str, str] = row["Metadata"] or {}
    return metadata


def test_the_sample_has_exactly_the_callers_metadata() -> None:
    """The root has what the caller put into `trace`, without prefix and OpenRouter.s additions; its children none."""
    root, *children = processed(sample())
    assert root["Metadata"] == {
        "environment": "production",
        "department": "finance-ops",
        "run_number": "42",
        "is_batch": "false",
        "cost_allocation.cost_center": "CC-4410",
        "cost_allocation.project.code": "AP-17",
        "cost_allocation.project.phase": "pilot",
        "labels": '["invoices","q4"]',
    }
    assert [child["Metadata"] for child in children] == [[], []]


def test_metadata_stays_among_the_attributes() -> None:
    """Collecting metadata takes nothing away from the span's attributes."""
    root = processed(sample())[0]
    assert root["SpanAttributesString"]["trace.metadata.department"] == "finance-ops"
    assert root["SpanAttributesInt"]["trace.metadata.run_number"] == 42
    assert root["SpanAttributesBool"]["trace.metadata.is_batch"] is False


@pytest.mark.parametrize(
    "key",
    [
        "trace.metadata.openrouter.api_key_name",
        "trace.metadata.openrouter_generation.usage",
        "trace.metadata.provider_responses",
        "span.metadata.team",
        "trace.metadat",
        "metadata.team",
    ],
)
def test_what_is_not_the_callers_is_left_out(key: str) -> None:
    """What OpenRouter adds under the same prefix, and other prefixes, are not the caller's metadata."""
    [row] = processed(openrouter({key: "x"}))
    assert row["Metadata"] == []


@pytest.mark.parametrize("key", ["openrouter", "openrouterish.x", "provider_responses_2", "a.b", "ключ"])
def test_keys_that_only_look_like_openrouters_are_the_callers(key: str) -> None:
    """A caller may use any key that is not OpenRouter's own."""
    assert _metadata({key: "x"}) == {key: "x"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        (42, "42"),
        (0.5, "0.5"),
        (51.0, "51"),
        (True, "true"),
        ('{"a":1}', '{"a":1}'),
        (["a", 1, True, 0.5], '["a",1,true,0.5]'),
        ([], "[]"),
        ({"bytesValue": "AAE="}, "AAE="),
        ([_kvlist({"k": [2]})], '[{"k":[2]}]'),
    ],
)
def test_values_become_text(value: Any, text: str) -> None:
    """Each value becomes text: plain values their own, lists JSON with plain numbers."""
    assert _metadata({"k": value}) == {"k": text}


def test_nested_lists_of_pairs_become_dotted_keys() -> None:
    """A key-value list is flattened, however deep, and stands beside keys that came dotted already."""
    nested = _kvlist({"cost_center": "CC-1", "project": _kvlist({"code": 17, "tags": ["a"], "none": {}})})
    assert _metadata({"cost_allocation": nested, "cost_allocation.phase": "pilot"}) == {
        "cost_allocation.cost_center": "CC-1",
        "cost_allocation.project.code": "17",
        "cost_allocation.project.tags": '["a"]',
        "cost_allocation.phase": "pilot",
    }


def test_empty_values_are_no_metadata() -> None:
    """An empty value and an empty key-value list add no key."""
    assert _metadata({"a": {}, "b": _kvlist({}), "c": "x"}) == {"c": "x"}


def test_each_span_has_its_own_metadata() -> None:
    """Metadata of several spans and requests, flat and nested, stays with its span; an SDK's span has it too."""
    nested = span(attributes=attributes({"trace.metadata.n": _kvlist({"a": 1, "b": 2})}))
    flat = span(attributes=attributes({"trace.metadata.f": "x"}))
    rows = processed(document(flat, span(), nested, flat), sdk({"trace.metadata.s": "y"}))
    assert [row["Metadata"] or {} for row in rows] == [
        {"f": "x"},
        {},
        {"n.a": "1", "n.b": "2"},
        {"f": "x"},
        {"s": "y"},
    ]


def test_a_batch_without_metadata_is_left_alone() -> None:
    """Without metadata there is nothing to do."""
    batch = batch_of(sdk({"k": "v"}))
    assert process(batch, "metadata") is batch
