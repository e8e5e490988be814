"""The Arrow schema of each table, derived from the schema files: the one place where both are said is the SQL.

ClickHouse converts Arrow silently and sometimes wrongly (a wider integer wraps, a null becomes 0), so what is inserted
must have exactly these types.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pyarrow as pa

SCHEMA_DIRECTORY = Path(__file__).parent / "schema"

_SCALARS = {
    "String": pa.string(),
    "Bool": pa.bool_(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Int64": pa.int64(),
    "Float64": pa.float64(),
    "DateTime64(9, 'UTC')": pa.timestamp("ns", "UTC"),
    "Decimal(18, 12)": pa.decimal128(18, 12),
}
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\n\(\n(.*?)\n\)\n", re.DOTALL)
_COLUMN = re.compile(r'^    (?:"(?P<quoted>[^"]+)"|(?P<plain>\w+)) (?P<type>[A-Z].*?)(?: CODEC\(.*\))?,?$')


def arrow_type(clickhouse_type: str) -> pa.DataType:
    """The Arrow type that is inserted into a column of this ClickHouse type; KeyError if there is none."""
    if clickhouse_type in _SCALARS:
        return _SCALARS[clickhouse_type]
    name, _, arguments = clickhouse_type.removesuffix(")").partition("(")
    match name:
        case "LowCardinality" | "Nullable":
            return arrow_type(arguments)
        case "Array":
            return pa.list_(arrow_type(arguments))
        case "Map":
            key, _, value = arguments.partition(", ")
            return pa.map_(arrow_type(key), arrow_type(value))
    raise KeyError(f"no Arrow type is known for the ClickHouse type {clickhouse_type}")


@cache
def table_schemas() -> dict[str, pa.Schema]:
    """The Arrow schema of every table in the schema files, by name; a field is nullable if its column is."""
    schemas = {}
    for file in sorted(SCHEMA_DIRECTORY.glob("*.sql")):
        for name, body in _TABLE.findall(file.read_text()):
            matches = (_COLUMN.match(line) for line in body.splitlines())
            columns = [(m["quoted"] or m["plain"], m["type"]) for m in matches if m and m["plain"] != "INDEX"]
            schemas[name] = pa.schema(
                [pa.field(column, arrow_type(kind), nullable="Nullable" in kind) for column, kind in columns]
            )
    return schemas
