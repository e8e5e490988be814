"""The Arrow schema of each table is the one that its SQL says."""

from __future__ import annotations

import pyarrow as pa
import pytest

from exporters.clickhouse.arrow import arrow_type, table_schemas
from exporters.clickhouse.rows import CALLS, SPANS


@pytest.mark.parametrize(
    ("clickhouse", "arrow"),
    [
        ("String", pa.string()),
        ("LowCardinality(String)", pa.string()),
        ("Bool", pa.bool_()),
        ("UInt32", pa.uint32()),
        ("UInt64", pa.uint64()),
        ("Int64", pa.int64()),
        ("Float64", pa.float64()),
        ("DateTime64(9, 'UTC')", pa.timestamp("ns", "UTC")),
        ("Decimal(18, 12)", pa.decimal128(18, 12)),
        ("Nullable(UInt64)", pa.uint64()),
        ("Nullable(Decimal(18, 12))", pa.decimal128(18, 12)),
        ("Array(String)", pa.list_(pa.string())),
        ("Array(DateTime64(9, 'UTC'))", pa.list_(pa.timestamp("ns", "UTC"))),
        ("Map(LowCardinality(String), String)", pa.map_(pa.string(), pa.string())),
        ("Map(LowCardinality(String), Int64)", pa.map_(pa.string(), pa.int64())),
        ("Map(LowCardinality(String), Bool)", pa.map_(pa.string(), pa.bool_())),
        ("Array(Map(LowCardinality(String), String))", pa.list_(pa.map_(pa.string(), pa.string()))),
    ],
)
def test_each_clickhouse_type_has_its_arrow_type(clickhouse: str, arrow: pa.DataType) -> None:
    """A column is inserted as the one Arrow type that ClickHouse stores without loss."""
    assert arrow_type(clickhouse) == arrow


@pytest.mark.parametrize(
    "clickhouse", ["", "UInt16", "Date", "JSON", "Array(UInt16)", "Tuple(String)", "DateTime64(3)"]
)
def test_other_types_are_refused(clickhouse: str) -> None:
    """A type that nothing is known of raises instead of being guessed."""
    with pytest.raises(KeyError):
        arrow_type(clickhouse)


def test_the_schema_files_say_all_columns() -> None:
    """Every column of the SQL is in the Arrow schema in its order, nullable where the column is; indexes are none."""
    schemas = table_schemas()
    assert set(schemas) >= {SPANS, CALLS}
    spans, calls = schemas[SPANS], schemas[CALLS]
    assert spans.names[:4] == ["Destination", "Timestamp", "TraceId", "SpanId"]
    assert calls.names[:3] == ["Destination", "CallTime", "CallId"]
    assert "Events.AttributesJson" in spans.names
    assert not {"TraceIds", "GenerationIds", "INDEX"} & set(spans.names)
    for schema in (spans, calls):
        assert [field.name for field in schema if field.nullable] == [
            "InputTokens",
            "OutputTokens",
            "TotalTokens",
            "CachedInputTokens",
            "CacheWriteTokens",
            "ReasoningTokens",
            "CostUsd",
            "InputCostUsd",
            "OutputCostUsd",
            "TimeToFirstTokenMs",
        ]
