"""The packed form of rows loses nothing and takes any columns."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.clickhouse.columns import Lists, Maps
from exporters.clickhouse.packed import Layout
from otlp.errors import PermanentError
from otlp.types import NullableColumn, texts

SCHEMA = pa.schema(
    [
        pa.field("Name", pa.string(), nullable=False),
        pa.field("At", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("Small", pa.uint32(), nullable=False),
        pa.field("Big", pa.uint64(), nullable=False),
        pa.field("Flag", pa.bool_(), nullable=False),
        pa.field("Tokens", pa.uint64()),
        pa.field("Cost", pa.decimal128(18, 12)),
        pa.field("Ms", pa.float64()),
        pa.field("Strings", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("Doubles", pa.map_(pa.string(), pa.float64()), nullable=False),
        pa.field("Bools", pa.map_(pa.string(), pa.bool_()), nullable=False),
        pa.field("Words", pa.list_(pa.string()), nullable=False),
    ]
)
LAYOUT = Layout(SCHEMA)
UINT64 = st.integers(0, 2**64 - 1)
PAIRS = {"Strings": st.text(max_size=5), "Doubles": st.floats(allow_nan=False), "Bools": st.booleans()}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "Name": st.text(max_size=5),
            "At": st.integers(0, 2**63 - 1),
            "Small": st.integers(0, 2**32 - 1),
            "Big": UINT64,
            "Flag": st.booleans(),
            "Tokens": st.none() | UINT64,
            "Cost": st.none() | st.integers(-(10**18) + 1, 10**18 - 1),
            "Ms": st.none() | st.floats(allow_nan=False),
            "Words": st.lists(st.text(max_size=3), max_size=3),
            **{name: st.lists(st.tuples(st.text(max_size=3), value), max_size=3) for name, value in PAIRS.items()},
        }
    ),
    max_size=5,
)


def _columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows as the encoder has them before they are packed."""

    def nullable(name: str, dtype: type) -> NullableColumn:
        values = [row[name] for row in rows]
        known = np.array([value is not None for value in values], np.bool_)
        return NullableColumn(np.array([value or 0 for value in values], dtype), known)

    def owner(name: str) -> np.ndarray:
        return np.repeat(np.arange(len(rows), dtype=np.int32), [len(row[name]) for row in rows])

    def maps(name: str, dtype: type) -> Maps:
        pairs = [pair for row in rows for pair in row[name]]
        return Maps(owner(name), texts([key for key, _ in pairs]), np.array([value for _, value in pairs], dtype))

    return {
        "Name": texts([row["Name"] for row in rows]),
        "At": np.array([row["At"] for row in rows], np.int64),
        "Small": np.array([row["Small"] for row in rows], np.uint32),
        "Big": np.array([row["Big"] for row in rows], np.uint64),
        "Flag": np.array([row["Flag"] for row in rows], np.bool_),
        "Tokens": nullable("Tokens", np.uint64),
        "Cost": nullable("Cost", np.int64),
        "Ms": nullable("Ms", np.float64),
        "Strings": maps("Strings", np.object_),
        "Doubles": maps("Doubles", np.float64),
        "Bools": maps("Bools", np.bool_),
        "Words": Lists(owner("Words"), texts([word for row in rows for word in row["Words"]])),
    }


@settings(deadline=None)
@given(batches=st.lists(ROWS, min_size=1, max_size=3))
def test_what_is_packed_comes_out_as_it_was(batches: list[list[dict[str, Any]]]) -> None:
    """Packed, written, read and unpacked, several batches together have the values they had, nulls included."""
    packed = [LAYOUT.pack(_columns(rows), len(rows)) for rows in batches]
    read = [pa.ipc.read_record_batch(pa.py_buffer(record.serialize()), LAYOUT.packed) for record in packed]
    wide = LAYOUT.unpack(pa.Table.from_batches(read))
    wide.validate(full=True)
    expected = [
        {
            **row,
            "Tokens": row["Tokens"],
            "Cost": None if row["Cost"] is None else Decimal(row["Cost"]).scaleb(-12),
        }
        for rows in batches
        for row in rows
    ]
    times = wide["At"].cast(pa.int64())
    assert wide.schema == SCHEMA
    assert wide.set_column(1, "At", times).to_pylist() == expected


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_columns_that_are_missing_are_empty(rows: int) -> None:
    """Without any column, text is empty, plain numbers are zero, nullable ones null, maps and lists without entries."""
    wide = LAYOUT.unpack(pa.Table.from_batches([LAYOUT.pack({}, rows)]))
    assert wide.num_rows == rows
    assert wide.schema == SCHEMA
    for row in wide.to_pylist():
        assert (row["Name"], row["Small"], row["Flag"], row["Tokens"], row["Cost"]) == ("", 0, False, None, None)
        assert (row["Strings"], row["Words"]) == ([], [])


def test_no_records_are_no_rows() -> None:
    """A segment without records unpacks to an empty table of the same columns."""
    wide = LAYOUT.unpack(pa.Table.from_batches([], LAYOUT.packed))
    assert (wide.num_rows, wide.schema) == (0, SCHEMA)


def test_rows_of_an_older_version_lack_only_its_missing_columns() -> None:
    """Rows packed before a column was added unpack with that column empty."""
    older = Layout(pa.schema([field for field in SCHEMA if field.name not in {"Small", "Cost", "Strings"}]))
    packed = older.pack({"Name": texts(["a"]), "Big": np.array([7], np.uint64)}, 1)
    read = pa.ipc.read_record_batch(pa.py_buffer(packed.serialize()), older.packed)
    [row] = LAYOUT.unpack(pa.Table.from_batches([read])).to_pylist()
    assert (row["Name"], row["Big"], row["Small"], row["Cost"], row["Strings"]) == ("a", 7, 0, None, [])


def test_rows_of_a_newer_version_are_refused() -> None:
    """Rows with a column that this version does not know are refused by its name, not stored without it."""
    newer = Layout(SCHEMA.append(pa.field("Tomorrow", pa.string(), nullable=False)))
    with pytest.raises(PermanentError, match="Tomorrow"):
        LAYOUT.unpack(pa.Table.from_batches([newer.pack({}, 1)]))
