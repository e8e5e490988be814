"""The canonical columns of OpenRouter's and the GenAI conventions' spans, and which spans are calls."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.sample import sample_delivery
from tests.otlp.messages import attributes, document, span
from tests.processors.chain import GENERATION, SECOND, START, chat, openrouter, processed, sample, sample_spans, sdk

CALL_SECOND = 1_795_304_410 * SECOND
BROADCAST_RANK = 1 << 63


def _only(delivery: dict[str, Any]) -> dict[str, Any]:
    [row] = processed(delivery)
    return row


def test_a_delivery_of_openrouter_is_one_call() -> None:
    """OpenRouter's root has every canonical column exactly as it was reported."""
    root, *_ = processed(sample())
    expected = {
        "CallId": GENERATION,
        "CallTime": CALL_SECOND,
        "GenerationId": GENERATION,
        "Source": "broadcast",
        "IsTest": False,
        "ServiceName": "openrouter",
        "Operation": "chat",
        "Model": "openai/gpt-5-mini",
        "ModelRequested": "openai/gpt-5-mini",
        "ModelAuthor": "openai",
        "Provider": "Azure",
        "InputTokens": 18432,
        "CachedInputTokens": 16000,
        "CacheWriteTokens": 0,
        "OutputTokens": 742,
        "ReasoningTokens": 256,
        "TotalTokens": 19174,
        "CostUsd": Decimal("0.012460000000"),
        "InputCostUsd": Decimal("0.005040000000"),
        "OutputCostUsd": Decimal("0.007420000000"),
        "CostSource": "reported",
        "UserId": "u_58213",
        "SessionId": "ap-2026-11-22-0093",
        "ApiKeyName": "ap-matcher-prod",
        "Environment": "production",
        "FinishReason": "tool_calls",
        "TimeToFirstTokenMs": 902.0,
        "Timestamp": START,
    }
    assert {name: root[name] for name in expected} == expected


def test_openrouters_children_are_no_calls() -> None:
    """Of a delivery's three spans only the root is a call; its children lead to it by the same generation id."""
    rows = processed(sample())
    assert [row["CallId"] != "" for row in rows] == [True, False, False]
    assert [row["GenerationId"] for row in rows] == [GENERATION] * 3
    for child in rows[1:]:
        assert child["ParentSpanId"] == rows[0]["SpanId"]
        assert child["Source"] == "broadcast"
        assert child["CostSource"] == ""
        for name in ("InputTokens", "OutputTokens", "TotalTokens", "CostUsd", "InputCostUsd", "OutputCostUsd"):
            assert child[name] is None


def test_a_span_alone_decides_whether_it_is_a_call() -> None:
    """A delivery in three parts, in whatever order, gives the same rows as a delivery in one."""
    whole = processed(sample())
    parts = sample()["resourceSpans"]
    rows = [_only({"resourceSpans": [part]}) for part in reversed(parts)]
    assert rows[::-1] == whole


def test_a_failed_call_is_a_call_without_usage() -> None:
    """An error root has no usage and no cost; it is a call all the same, and unknown is null rather than 0."""
    delivery = sample()
    root = sample_spans(delivery)[0]
    root["attributes"] = [
        entry
        for entry in root["attributes"]
        if not entry["key"].startswith(("gen_ai.usage.", "gen_ai.response.finish", "trace.metadata.openrouter_gen"))
    ] + attributes({"span.status_message": "Provider returned error"})
    root["status"] = {"code": 2, "message": "Provider returned error"}
    row = processed(delivery)[0]
    assert (row["CallId"], row["StatusCode"], row["CostSource"]) == (GENERATION, "Error", "")
    for name in ("InputTokens", "OutputTokens", "TotalTokens", "CachedInputTokens", "ReasoningTokens", "CostUsd"):
        assert row[name] is None


def test_the_connection_test_is_a_test() -> None:
    """The span of OpenRouter's Test Connection is marked as a test and is no call."""
    delivery = openrouter(
        {},
        traceId="0" * 31 + "1",
        spanId="0" * 15 + "1",
        name="openrouter-connection-test",
        kind=1,
        status={"code": 1},
    )
    row = _only(delivery)
    assert (row["IsTest"], row["CallId"], row["Source"]) == (True, "", "broadcast")


def test_the_send_trace_button_is_a_test() -> None:
    """The canned generation of OpenRouter's Send Trace button is marked as a test and is no call, whatever it cost."""
    values = {
        "trace.name": "Test Trace - OpenRouter Observability",
        "span.type": "generation",
        "gen_ai.operation.name": "chat",
        "gen_ai.response.model": "openai/gpt-4-turbo",
        "gen_ai.usage.total_cost": 0.02,
        "trace.metadata.environment": "test",
        "trace.metadata.source": "observability-test-button",
        "trace.metadata.test": True,
    }
    row = _only(openrouter(values, name="Test Generation"))
    assert (row["IsTest"], row["CallId"]) == (True, "")


def test_other_services_cannot_be_tests() -> None:
    """The marks of OpenRouter's tests mean nothing on spans of others."""
    values = chat() | {"trace.metadata.source": "observability-test-button"}
    row = _only(sdk(values, name="openrouter-connection-test"))
    assert row["IsTest"] is False
    assert row["CallId"] != ""


def test_a_chat_span_of_an_sdk_is_a_call() -> None:
    """A chat span of the GenAI conventions is a call, identified by its span; its provider is who served it."""
    values = chat(
        gen_ai__usage__cache_read__input_tokens=400,
        gen_ai__usage__cache_creation__input_tokens=10,
        gen_ai__usage__reasoning__output_tokens=30,
        gen_ai__conversation__id="c-1",
        gen_ai__response__time_to_first_chunk=0.25,
        enduser__id="u-1",
    )
    row = _only(sdk(values, resource={"deployment.environment.name": "staging"}))
    expected = {
        "CallId": f"{row['TraceId']}:{row['SpanId']}",
        "CallTime": row["Timestamp"],
        "GenerationId": "chatcmpl-1",
        "Source": "sdk",
        "ServiceName": "checkout",
        "Operation": "chat",
        "Model": "gpt-4o-mini-2024-07-18",
        "ModelRequested": "gpt-4o-mini",
        "ModelAuthor": "",
        "Provider": "openai",
        "FinishReason": "stop",
        "InputTokens": 1000,
        "OutputTokens": 100,
        "TotalTokens": 1100,
        "CachedInputTokens": 400,
        "CacheWriteTokens": 10,
        "ReasoningTokens": 30,
        "SessionId": "c-1",
        "UserId": "u-1",
        "Environment": "staging",
        "TimeToFirstTokenMs": 250.0,
        "CostSource": "computed",
        "IsTest": False,
    }
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("operation", ["chat", "generate_content", "text_completion", "embeddings"])
def test_operations_that_call_a_model_are_calls(operation: str) -> None:
    """Every operation of the conventions that is one call of a model is a call."""
    assert _only(sdk(chat(gen_ai__operation__name=operation)))["CallId"] != ""


@pytest.mark.parametrize(
    "operation", ["invoke_agent", "create_agent", "invoke_workflow", "execute_tool", "retrieval", "", "Chat"]
)
def test_operations_that_restate_or_do_other_things_are_no_calls(operation: str) -> None:
    """Agents and workflows restate their children's usage and tools have none: neither is a call, nor priced."""
    row = _only(sdk(chat(gen_ai__operation__name=operation)))
    assert (row["CallId"], row["CostSource"], row["CostUsd"]) == ("", "", None)


def test_the_copies_of_a_generation_meet() -> None:
    """The SDK's and Broadcast's copy of one generation share call id and time, and Broadcast's ranks higher."""
    broadcast, *_ = processed(sample())
    [copy] = processed(
        sdk(
            chat(gen_ai__response__id=GENERATION),
            startTimeUnixNano=START - 3 * SECOND,
            endTimeUnixNano=START + 9 * SECOND,
        )
    )
    for name in ("Destination", "CallTime", "CallId"):
        assert copy[name] == broadcast[name]
    assert broadcast["Rank"] > copy["Rank"]
    assert broadcast["Rank"] >= BROADCAST_RANK > copy["Rank"]


@pytest.mark.parametrize(
    "response_id",
    ["chatcmpl-1", "gen-", "gen-abc-x", "gen-1795304410-", "gen-12-x", "gen-1795304410", "x-gen-1795304410-y", ""],
)
def test_other_response_ids_are_not_trusted(response_id: str) -> None:
    """A response id that is not OpenRouter's does not identify a call: it need not be unique."""
    row = _only(sdk(chat(gen_ai__response__id=response_id)))
    assert row["CallId"] == f"{row['TraceId']}:{row['SpanId']}"
    assert row["CallTime"] == row["Timestamp"]


@pytest.mark.parametrize("seconds", [1_700_000_000, 1_999_999_999])
def test_a_generation_id_far_from_its_span_is_not_trusted(seconds: int) -> None:
    """An id whose second lies months from its span's time is somebody else's format."""
    row = _only(sdk(chat(gen_ai__response__id=f"gen-{seconds}-abc")))
    assert row["CallId"] == f"{row['TraceId']}:{row['SpanId']}"


@pytest.mark.parametrize(
    ("service", "scope"),
    [("checkout", "openrouter"), ("openrouter", "my-instrumentation"), ("openrouter-proxy", "openrouter")],
)
def test_only_openrouter_itself_is_broadcast(service: str, scope: str) -> None:
    """A span of another service or scope that carries OpenRouter's keys, as a caller's child span may, is an SDK's."""
    values = {"span.type": "generation", "gen_ai.response.id": f"{GENERATION}:attempt-0"}
    resource = {"attributes": attributes({"service.name": service})}
    row = _only(document(span(attributes=attributes(values)), resource=resource, scope={"name": scope}))
    assert (row["Source"], row["CallId"]) == ("sdk", "")
    assert row["GenerationId"] == f"{GENERATION}:attempt-0"


def test_scopes_of_one_resource_are_told_apart() -> None:
    """A span is Broadcast's by its own scope, whatever other scopes its resource has."""
    part = sample()["resourceSpans"][0]
    other = span(attributes=attributes(chat()), spanId="00000000000000ff")
    for scopes in ([*part["scopeSpans"], {"scope": {"name": "x"}, "spans": [other]}],):
        for order in (scopes, scopes[::-1]):
            rows = processed({"resourceSpans": [{"resource": part["resource"], "scopeSpans": order}]})
            assert {row["SpanName"]: row["Source"] for row in rows} == {"Match line items": "broadcast", "": "sdk"}


def test_many_deliveries_keep_their_own_values() -> None:
    """Generations in one batch do not take values from one another."""
    ids = [f"gen-{1_795_304_410 + n}-abc{n}" for n in range(5)]
    deliveries = [sample_delivery(generation, START + n * SECOND) for n, generation in enumerate(ids)]
    for n, delivery in enumerate(deliveries):
        for entry in sample_spans(delivery)[0]["attributes"]:
            if entry["key"] == "gen_ai.usage.input_tokens":
                entry["value"] = {"intValue": n}
    rows = [row for row in processed(*deliveries, sdk(chat())) if row["CallId"]]
    assert [row["GenerationId"] for row in rows] == [*ids, "chatcmpl-1"]
    assert [row["InputTokens"] for row in rows] == [0, 1, 2, 3, 4, 1000]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["stop", "length"], "stop"),
        ('["tool_calls"]', "tool_calls"),
        ("stop", "stop"),
        ("[]", ""),
        ([], ""),
        ('"stop"', '"stop"'),
    ],
)
def test_finish_reasons_come_as_list_or_as_json(value: Any, reason: str) -> None:
    """The first of several finish reasons is taken, whether they come as a list or as JSON text."""
    assert _only(sdk(chat(gen_ai__response__finish_reasons=value)))["FinishReason"] == reason


def test_the_author_is_the_first_part_of_a_slug() -> None:
    """Without an author of its own, a model's slug names it."""
    row = _only(openrouter({"span.type": "generation", "gen_ai.request.model": "anthropic/claude-sonnet-4"}))
    assert (row["Model"], row["ModelAuthor"]) == ("anthropic/claude-sonnet-4", "anthropic")


def test_the_trace_id_of_the_resource_names_the_generation() -> None:
    """A span of OpenRouter without a response id belongs to the generation that its resource names."""
    delivery = sample()
    child = sample_spans(delivery)[2]
    child["attributes"] = [entry for entry in child["attributes"] if entry["key"] != "gen_ai.response.id"]
    assert processed(delivery)[2]["GenerationId"] == GENERATION
