"""What users query, against the real engine: every value reads back with its type, in every view."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from otlp.batch import Request
from tests.exporters.clickhouse.stores import store, table_of
from tests.otlp.messages import LAST_TIME, attributes, document, span
from tests.processors.chain import GENERATION, SECOND, START, openrouter, sample, sample_spans

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as Driver

    from exporters.clickhouse.exporter import ClickHouseExporter

ODD_START, ODD_END = 1_795_304_410_482_000_001, 1_795_304_414_698_123_457
RECEIVED = 1_795_304_420_000_000_007
KVLIST = {"kvlistValue": {"values": attributes({"a": 1, "b": {"bytesValue": "AAE="}})}}

OTEL_TRACES = [
    ("Timestamp", "DateTime64(9)"),
    ("TraceId", "String"),
    ("SpanId", "String"),
    ("ParentSpanId", "String"),
    ("TraceState", "String"),
    ("SpanName", "LowCardinality(String)"),
    ("SpanKind", "LowCardinality(String)"),
    ("ServiceName", "LowCardinality(String)"),
    ("ResourceAttributes", "Map(LowCardinality(String), String)"),
    ("ScopeName", "String"),
    ("ScopeVersion", "String"),
    ("SpanAttributes", "Map(LowCardinality(String), String)"),
    ("Duration", "UInt64"),
    ("StatusCode", "LowCardinality(String)"),
    ("StatusMessage", "String"),
    ("Events.Timestamp", "Array(DateTime64(9))"),
    ("Events.Name", "Array(LowCardinality(String))"),
    ("Events.Attributes", "Array(Map(LowCardinality(String), String))"),
    ("Links.TraceId", "Array(String)"),
    ("Links.SpanId", "Array(String)"),
    ("Links.TraceState", "Array(String)"),
    ("Links.Attributes", "Array(Map(LowCardinality(String), String))"),
]

OPENROUTER_TRACES = [
    "TRACE_ID",
    "SPAN_ID",
    "PARENT_SPAN_ID",
    "USER_ID",
    "SESSION_ID",
    "ORGANIZATION_ID",
    "ENTITY_ID",
    "API_KEY_NAME",
    "TIMESTAMP",
    "START_TIME",
    "END_TIME",
    "DURATION_MS",
    "MODEL",
    "PROVIDER_NAME",
    "PROVIDER_SLUG",
    "STATUS",
    "LEVEL",
    "FINISH_REASON",
    "PROMPT_TOKENS",
    "COMPLETION_TOKENS",
    "TOTAL_TOKENS",
    "CACHED_TOKENS",
    "REASONING_TOKENS",
    "INPUT_COST",
    "OUTPUT_COST",
    "TOTAL_COST",
    "INPUT_UNIT_PRICE",
    "OUTPUT_UNIT_PRICE",
    "SPAN_TYPE",
    "SPAN_KIND",
    "OPERATION_NAME",
    "ATTRIBUTES",
    "INPUT",
    "OUTPUT",
    "METADATA",
    "TAGS",
    "MODEL_PARAMETERS",
    "RESOURCE_ATTRIBUTES",
    "SCHEMA_VERSION",
]


def _full() -> dict[str, Any]:
    """A span of an SDK with a value in every place and of every type."""
    values = {
        "text": 'grüße 🦉 "quoted" back\\slash\nline',
        "least": -(2**63),
        "most": 2**63 - 1,
        "double": 0.1,
        "whole": 51.0,
        "nan": {"doubleValue": "NaN"},
        "infinity": {"doubleValue": "Infinity"},
        "yes": True,
        "no": False,
        "array": [1, "a", True],
        "map": KVLIST,
        "bytes": {"bytesValue": "AAE="},
        "empty": {},
        "gen_ai.input.messages": [{"kvlistValue": {"values": attributes({"role": "user"})}}],
        "gen_ai.output.messages": "answer",
        "trace.metadata.nested": KVLIST,
    }
    held = {"attributes": attributes({"t": "x", "i": 7, "d": 0.5, "b": True, "l": ["a"]}), "droppedAttributesCount": 1}
    full = span(
        traceId="aa" * 16,
        spanId="bb" * 8,
        parentSpanId="cc" * 8,
        traceState="k=v",
        name="full",
        kind=5,
        status={"code": 2, "message": "no"},
        flags=257,
        startTimeUnixNano=ODD_START,
        endTimeUnixNano=ODD_END,
        attributes=attributes(values),
        events=[{"timeUnixNano": ODD_START + 1, "name": "e"} | held, {"timeUnixNano": ODD_START + 2, "name": "f"}],
        links=[{"traceId": "dd" * 16, "spanId": "ee" * 8, "traceState": "l=1", "flags": 3} | held],
        droppedAttributesCount=1,
        droppedEventsCount=2,
        droppedLinksCount=3,
    )
    resource = {"attributes": [*held["attributes"], *attributes({"service.name": "svc"})], "droppedAttributesCount": 9}
    delivery = document(full, resource=resource, scope={"name": "scope", "version": "1.2"} | held)
    delivery["resourceSpans"][0]["schemaUrl"] = "https://example.org/resource"
    delivery["resourceSpans"][0]["scopeSpans"][0]["schemaUrl"] = "https://example.org/scope"
    return delivery


def _error() -> dict[str, Any]:
    """A failed generation of OpenRouter with tags, parameters and awkward texts."""
    values = {
        "span.type": "generation",
        "span.level": "ERROR",
        "gen_ai.operation.name": "chat",
        "gen_ai.response.id": "gen-1795304411-failed",
        "gen_ai.request.model": "anthropic/claude-sonnet-4",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 100,
        "trace.tags": '["a","b"]',
        "awkward": 'q"\\\n\u0001',
        "infinite": {"doubleValue": "Infinity"},
        "list": ["x"],
    }
    return openrouter(
        values,
        traceId="ab" * 16,
        spanId="ab" * 8,
        name="failed",
        status={"code": 2, "message": "Provider returned error"},
        startTimeUnixNano=START + SECOND,
        endTimeUnixNano=START + 2 * SECOND,
    )


def _test_span() -> dict[str, Any]:
    return openrouter({}, traceId="0" * 31 + "1", spanId="0" * 15 + "1", name="openrouter-connection-test")


def _last() -> dict[str, Any]:
    return document(span(traceId="fe" * 16, name="last", startTimeUnixNano=LAST_TIME - 1, endTimeUnixNano=LAST_TIME))


@pytest.fixture(scope="module")
def stored(module_exporter: ClickHouseExporter, module_reader: Driver) -> Driver:
    """A reader of a database that holds one of each kind of span, all of it twice."""
    deliveries = [sample(), _full(), _error(), _test_span(), _last()]
    for token in ("1", "2"):
        requests = [Request("default", RECEIVED)] * len(deliveries)
        store(module_exporter, table_of(module_exporter, *deliveries, requests=requests), token)
    return module_reader


def _one(reader: Driver, what: str, *, view: str, where: str) -> dict[str, Any]:
    [row] = reader.query(f"SELECT {what} FROM {view} WHERE {where}").named_results()
    return dict(row)


def test_every_view_holds_each_span_once(stored: Driver) -> None:
    """Rows stored twice are in every view once, tests only where all spans are."""
    counts = [
        stored.query(f"SELECT count() FROM {view}").result_rows[0][0]
        for view in ("spans", "llm_calls", "otel_traces", "OPENROUTER_TRACES")
    ]
    assert counts == [7, 2, 7, 4]


def test_spans_keep_every_value(stored: Driver) -> None:
    """In `spans`, every fixed field of a span reads back as it was sent."""
    row = _one(stored, "*", view="spans", where="SpanName = 'full'")
    expected = {
        "Destination": "default",
        "TraceId": "aa" * 16,
        "SpanId": "bb" * 8,
        "ParentSpanId": "cc" * 8,
        "TraceState": "k=v",
        "Flags": 257,
        "SpanKind": "Consumer",
        "ServiceName": "svc",
        "StatusCode": "Error",
        "StatusMessage": "no",
        "Duration": ODD_END - ODD_START,
        "DroppedAttributesCount": 1,
        "DroppedEventsCount": 2,
        "DroppedLinksCount": 3,
        "ResourceSchemaUrl": "https://example.org/resource",
        "ResourceDroppedAttributesCount": 9,
        "ScopeName": "scope",
        "ScopeVersion": "1.2",
        "ScopeSchemaUrl": "https://example.org/scope",
        "ScopeDroppedAttributesCount": 1,
        "Events.Name": ["e", "f"],
        "Events.DroppedAttributesCount": [1, 0],
        "Links.TraceId": ["dd" * 16],
        "Links.SpanId": ["ee" * 8],
        "Links.TraceState": ["l=1"],
        "Links.Flags": [3],
        "Links.DroppedAttributesCount": [1],
        "Source": "sdk",
        "IsTest": False,
        "InputTokens": None,
        "CostUsd": None,
        "Metadata": {"nested.a": "1", "nested.b": "AAE="},
    }
    assert {name: row[name] for name in expected} == expected


def test_times_are_exact_to_the_nanosecond(stored: Driver) -> None:
    """Times read back to their last nanosecond, up to the last one that there is."""
    times = (
        "toUnixTimestamp64Nano(Timestamp) AS start, toUnixTimestamp64Nano(EndTimestamp) AS end, "
        'arrayMap(t -> toUnixTimestamp64Nano(t), "Events.Timestamp") AS events, '
        "toUnixTimestamp64Nano(IngestedAt) AS received"
    )
    assert _one(stored, times, view="spans", where="SpanName = 'full'") == {
        "start": ODD_START,
        "end": ODD_END,
        "events": [ODD_START + 1, ODD_START + 2],
        "received": RECEIVED,
    }
    last = _one(stored, times, view="spans", where="SpanName = 'last'")
    assert (last["start"], last["end"]) == (LAST_TIME - 1, LAST_TIME)


def test_attributes_keep_their_types(stored: Driver) -> None:
    """Numbers and booleans read back as such; arrays, key-value lists and bytes as OTLP/JSON text."""
    row = _one(stored, "*", view="spans", where="SpanName = 'full'")
    assert row["SpanAttributesString"] == {"text": 'grüße 🦉 "quoted" back\\slash\nline'}
    assert row["SpanAttributesInt"] == {"least": -(2**63), "most": 2**63 - 1}
    doubles = row["SpanAttributesDouble"]
    assert str(doubles.pop("nan")) == "nan"
    assert doubles == {"double": 0.1, "whole": 51.0, "infinity": float("inf")}
    assert row["SpanAttributesBool"] == {"yes": True, "no": False}
    nested = {
        "kvlistValue": {
            "values": [{"key": "a", "value": {"intValue": "1"}}, {"key": "b", "value": {"bytesValue": "AAE="}}]
        }
    }
    assert {key: json.loads(text) for key, text in row["SpanAttributesJson"].items()} == {
        "array": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "a"}, {"boolValue": True}]}},
        "map": nested,
        "bytes": {"bytesValue": "AAE="},
        "empty": {},
        "trace.metadata.nested": nested,
    }
    others = {
        "i": '{"intValue":"7"}',
        "d": '{"doubleValue":0.5}',
        "b": '{"boolValue":true}',
        "l": '{"arrayValue":{"values":[{"stringValue":"a"}]}}',
    }
    assert row["ResourceAttributesString"] == {"t": "x", "service.name": "svc"}
    assert row["ScopeAttributesString"] == {"t": "x"}
    assert row["Events.AttributesString"] == [{"t": "x"}, {}]
    assert row["Links.AttributesString"] == [{"t": "x"}]
    assert row["ResourceAttributesJson"] == row["ScopeAttributesJson"] == others
    assert row["Events.AttributesJson"] == [others, {}]
    assert row["Links.AttributesJson"] == [others]


def test_attributes_are_readable_in_one_map(stored: Driver) -> None:
    """`SpanAttributes` and `ResourceAttributes` hold every attribute but content as text, numbers as they print."""
    row = _one(stored, "SpanAttributes, ResourceAttributes", view="spans", where="SpanName = 'full'")
    attributes = row["SpanAttributes"]
    assert attributes["least"] == str(-(2**63))
    assert (attributes["double"], attributes["whole"], attributes["yes"]) == ("0.1", "51", "true")
    assert attributes["bytes"] == '{"bytesValue":"AAE="}'
    assert len(attributes) == 14
    assert row["ResourceAttributes"] == {
        "t": "x",
        "i": "7",
        "d": "0.5",
        "b": "true",
        "l": '{"arrayValue":{"values":[{"stringValue":"a"}]}}',
        "service.name": "svc",
    }


def test_input_and_output_are_the_content(stored: Driver) -> None:
    """`Input` and `Output` are prompt and completion, under whichever key they came and wherever the copy is kept."""
    sent = {entry["key"]: entry["value"].get("stringValue") for entry in sample_spans(sample())[0]["attributes"]}
    root = _one(stored, "Input, Output", view="spans", where=f"CallId = '{GENERATION}'")
    assert root == {"Input": sent["gen_ai.prompt"], "Output": sent["gen_ai.completion"]}
    full = _one(stored, "Input, Output", view="spans", where="SpanName = 'full'")
    assert json.loads(full["Input"])["arrayValue"]["values"][0]["kvlistValue"]
    assert full["Output"] == "answer"
    child = _one(stored, "Input, Output", view="spans", where="SpanName = 'generation'")
    assert child == {"Input": "", "Output": ""}


def test_calls_are_what_may_be_summed(stored: Driver) -> None:
    """`llm_calls` has one row for each call with its exact cost, a failed one with nulls, and no content."""
    row = _one(stored, "*", view="llm_calls", where=f"CallId = '{GENERATION}'")
    expected = {
        "Destination": "default",
        "Model": "openai/gpt-5-mini",
        "Provider": "Azure",
        "InputTokens": 18432,
        "CachedInputTokens": 16000,
        "OutputTokens": 742,
        "ReasoningTokens": 256,
        "CostUsd": Decimal("0.01246"),
        "CostSource": "reported",
        "UserId": "u_58213",
        "ApiKeyName": "ap-matcher-prod",
    }
    assert {name: row[name] for name in expected} == expected
    assert row["Metadata"]["cost_allocation.project.code"] == "AP-17"
    assert not {"Content", "Input", "Output", "Rank"} & set(row)
    failed = _one(stored, "*", view="llm_calls", where="StatusCode = 'Error'")
    assert [failed[name] for name in ("InputTokens", "OutputTokens", "CostUsd")] == [None, None, None]
    assert failed["CallId"] == "gen-1795304411-failed"


def test_otel_traces_has_the_collectors_columns(stored: Driver) -> None:
    """`otel_traces` has the columns of the Collector's exporter, in its order and of its types."""
    columns = stored.query("DESCRIBE otel_traces").result_rows
    described = [(name, kind.replace("DateTime64(9, 'UTC')", "DateTime64(9)")) for name, kind, *_ in columns]
    assert described == OTEL_TRACES


def test_otel_traces_has_the_collectors_values(stored: Driver) -> None:
    """In `otel_traces`, every attribute is text as the Collector writes it, those of events and links too."""
    row = _one(stored, "*", view="otel_traces", where="SpanName = 'full'")
    plain = {"t": "x", "i": "7", "d": "0.5", "b": "true", "l": '{"arrayValue":{"values":[{"stringValue":"a"}]}}'}
    assert row["Events.Attributes"] == [plain, {}]
    assert row["Links.Attributes"] == [plain]
    assert row["ResourceAttributes"] == plain | {"service.name": "svc"}
    assert row["SpanAttributes"]["most"] == str(2**63 - 1)
    assert (row["SpanKind"], row["StatusCode"], row["Duration"]) == ("Consumer", "Error", ODD_END - ODD_START)


def test_openrouter_traces_has_openrouters_columns(stored: Driver) -> None:
    """`OPENROUTER_TRACES` has exactly the columns of OpenRouter's own destination, in its order."""
    assert list(stored.query("SELECT * FROM OPENROUTER_TRACES LIMIT 0").column_names) == OPENROUTER_TRACES


def test_openrouter_traces_has_openrouters_values(stored: Driver) -> None:
    """Rows of `OPENROUTER_TRACES` have OpenRouter's own ids, names and units."""
    row = _one(stored, "*", view="OPENROUTER_TRACES", where=f"SPAN_ID = '{GENERATION}'")
    expected = {
        "TRACE_ID": GENERATION,
        "PARENT_SPAN_ID": None,
        "USER_ID": "u_58213",
        "SESSION_ID": "ap-2026-11-22-0093",
        "ORGANIZATION_ID": "org_3Xb9aLmV",
        "ENTITY_ID": "org_3Xb9aLmV",
        "API_KEY_NAME": "ap-matcher-prod",
        "DURATION_MS": 4216.0,
        "MODEL": "openai/gpt-5-mini",
        "PROVIDER_NAME": "Azure",
        "PROVIDER_SLUG": "azure",
        "STATUS": "ok",
        "LEVEL": "DEFAULT",
        "FINISH_REASON": "tool_calls",
        "PROMPT_TOKENS": 18432,
        "COMPLETION_TOKENS": 742,
        "TOTAL_TOKENS": 19174,
        "CACHED_TOKENS": 16000,
        "REASONING_TOKENS": 256,
        "INPUT_COST": 0.00504,
        "OUTPUT_COST": 0.00742,
        "TOTAL_COST": 0.01246,
        "INPUT_UNIT_PRICE": 1.25e-06,
        "OUTPUT_UNIT_PRICE": 1e-05,
        "SPAN_TYPE": "GENERATION",
        "SPAN_KIND": "CLIENT",
        "OPERATION_NAME": "chat",
        "TAGS": [],
        "SCHEMA_VERSION": 1,
    }
    assert {name: row[name] for name in expected} == expected
    assert json.loads(row["METADATA"])["department"] == "finance-ops"
    assert json.loads(row["INPUT"])["messages"][0]["role"] == "system"
    assert json.loads(row["ATTRIBUTES"])["gen_ai.usage.input_tokens"] == 18432
    assert json.loads(row["RESOURCE_ATTRIBUTES"])["service.name"] == "openrouter"
    children = stored.query(
        f"SELECT SPAN_ID, PARENT_SPAN_ID FROM OPENROUTER_TRACES WHERE PARENT_SPAN_ID = '{GENERATION}' ORDER BY 1"
    ).result_rows
    assert children == [(f"{GENERATION}:attempt-0", GENERATION), (f"{GENERATION}:generation", GENERATION)]


def test_openrouter_traces_of_a_failure_are_json_too(stored: Driver) -> None:
    """A failed generation is an error with zeros for what is unknown, and its JSON columns are JSON for any text."""
    row = _one(stored, "*", view="OPENROUTER_TRACES", where="SPAN_ID = 'gen-1795304411-failed'")
    assert (row["STATUS"], row["LEVEL"], row["FINISH_REASON"]) == ("error", "ERROR", None)
    assert (row["PROMPT_TOKENS"], row["TOTAL_COST"], row["INPUT_UNIT_PRICE"]) == (0, 0.0, None)
    assert row["TAGS"] == ["a", "b"]
    attributes = json.loads(row["ATTRIBUTES"])
    assert attributes["awkward"] == 'q"\\\n\u0001'
    assert attributes["gen_ai.request.temperature"] == 0.2
    parameters = json.loads(row["MODEL_PARAMETERS"])
    assert (float(parameters["gen_ai.request.temperature"]), int(parameters["gen_ai.request.max_tokens"])) == (0.2, 100)
    assert json.loads(row["METADATA"]) == {}
