"""The cut of a segment into insert units: complete, within its limits, and made once and for ever."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.spool.cut import MAX_BYTES, MAX_ROWS, Placement, Unit, cut, load_or_cut, token

if TYPE_CHECKING:
    from pathlib import Path

    from otlp.types import Int64Column

SEGMENT = "00000000000000000007-ab12cd34"
TABLES = ("spans_data", "calls_data")
JANUARY_2026 = 56 * 12


def numbers_of(unit: Unit) -> Int64Column:
    """The row numbers that a unit takes."""
    return np.concatenate([np.arange(start, stop) for start, stop in unit.ranges])


def placement(table: str, rows: list[int], months: list[int], size: float = 100.0) -> Placement:
    """A few rows of one size."""
    return Placement(table, np.array(rows, np.int64), np.array(months, np.int64), np.full(len(rows), size))


@st.composite
def placements(draw: st.DrawFn, longest: int = 60_000) -> list[Placement]:
    """Stretches of rows, each of one month and size, some skipped; long and heavy enough for the limits to bite."""
    drawn = []
    for table in draw(st.sampled_from([TABLES, TABLES[:1]])):
        stretch = st.tuples(
            st.sampled_from([1, 2, 7, longest // 2, longest]),
            st.integers(0, 3),
            st.integers(-2, 2),
            st.sampled_from([0.0, 1.0, 333.3, 1500.0, 2e5, MAX_BYTES / 2, MAX_BYTES, MAX_BYTES + 1.0]),
        )
        rows, months, sizes, start = [], [], [], 0
        for length, skipped, month, size in draw(st.lists(stretch, max_size=8)):
            # Rows of megabytes come in stretches of a few: a segment is no larger.
            count = min(length, 7) if size > 1e5 else length
            rows.append(np.arange(start, start + count))
            months.append(np.full(count, JANUARY_2026 + month))
            sizes.append(np.full(count, size))
            start += count + skipped
        none = np.zeros(0, np.int64)
        drawn.append(
            Placement(
                table,
                np.concatenate([none, *rows]),
                np.concatenate([none, *months]),
                np.concatenate([np.zeros(0), *sizes]),
            )
        )
    return drawn


@given(placements())
@settings(max_examples=40, deadline=None)
def test_every_row_is_in_exactly_one_unit_of_its_table(placements: list[Placement]) -> None:
    """Each table's units take each of its rows once, rows of one month each, within the limits, numbered in order."""
    units = cut(placements)
    assert [unit.number for unit in units] == list(range(len(units)))
    for place in placements:
        own = [unit for unit in units if unit.table == place.table]
        taken = np.concatenate([np.zeros(0, np.int64), *(numbers_of(unit) for unit in own)])
        assert np.array_equal(np.sort(taken), place.rows)
        for unit in own:
            rows = numbers_of(unit)
            at = np.searchsorted(place.rows, rows)
            assert {str(np.datetime64(int(month), "M")) for month in np.unique(place.months[at])} == {
                f"{unit.partition[:4]}-{unit.partition[4:]}"
            }
            assert unit.rows == len(rows) <= MAX_ROWS
            assert len(rows) == 1 or place.sizes[at].sum() <= MAX_BYTES * (1 + 1e-9)


@given(placements())
@settings(max_examples=30, deadline=None)
def test_no_unit_is_smaller_than_it_must_be(placements: list[Placement]) -> None:
    """Two units that follow one another in a partition would not fit into one: no insert is made for nothing."""
    sizes = {place.table: dict(zip(place.rows.tolist(), place.sizes.tolist(), strict=True)) for place in placements}
    units = cut(placements)
    for unit, after in itertools.pairwise(units):
        if (unit.table, unit.partition) == (after.table, after.partition):
            bytes_held = sum(sizes[unit.table][row] for row in numbers_of(unit).tolist())
            following = sizes[unit.table][int(numbers_of(after)[0])]
            assert unit.rows == MAX_ROWS or bytes_held + following > MAX_BYTES * (1 - 1e-9)


def test_a_segment_is_cut_by_table_then_partition() -> None:
    """Units come table by table in the given order, then month by month; neighbours share a range."""
    months = [JANUARY_2026, JANUARY_2026 - 1, JANUARY_2026, JANUARY_2026]
    units = cut([placement("spans_data", [0, 1, 2, 3], months), placement("calls_data", [2], [JANUARY_2026])])
    assert units == [
        Unit(0, "spans_data", "202512", [(1, 2)]),
        Unit(1, "spans_data", "202601", [(0, 1), (2, 4)]),
        Unit(2, "calls_data", "202601", [(2, 3)]),
    ]


def test_no_two_units_have_one_number() -> None:
    """Units are told apart by number, so one that follows a table's several has a number of its own."""
    rows = list(range(MAX_ROWS + 1))
    spans = placement("spans_data", rows, [JANUARY_2026] * len(rows))
    units = cut([spans, placement("calls_data", [0], [JANUARY_2026])])
    assert [(unit.number, unit.table) for unit in units] == [(0, "spans_data"), (1, "spans_data"), (2, "calls_data")]


def test_partitions_are_named_as_clickhouse_names_them() -> None:
    """A month is named as toYYYYMM does, at both ends of what DateTime64(9) holds."""
    ends = placement("spans_data", [0, 1, 2], [-840, 0, 3507])
    assert [unit.partition for unit in cut([ends])] == ["190001", "197001", "226204"]


@pytest.mark.parametrize(
    ("rows", "size", "expected"),
    [
        (MAX_ROWS, 1.0, [MAX_ROWS]),
        (MAX_ROWS + 1, 1.0, [MAX_ROWS, 1]),
        (64, MAX_BYTES / 64, [64]),
        (65, MAX_BYTES / 64, [64, 1]),
        (3, MAX_BYTES + 1.0, [1, 1, 1]),
        (0, 1.0, []),
    ],
)
def test_the_limits_are_exact(rows: int, size: float, expected: list[int]) -> None:
    """A unit may be as large as a limit and no larger, but for a single row, which cannot be cut."""
    units = cut([placement("spans_data", list(range(rows)), [JANUARY_2026] * rows, size)])
    assert [unit.rows for unit in units] == expected


@given(placements(longest=20), placements(longest=20))
@settings(max_examples=30, deadline=None)
def test_a_cut_is_never_made_twice(
    tmp_path_factory: pytest.TempPathFactory, first: list[Placement], second: list[Placement]
) -> None:
    """The first cut stands, even if the rows would be placed elsewhere now; a later version does not change it."""
    path = tmp_path_factory.mktemp("cut") / f"{SEGMENT}.cut"
    units = load_or_cut(path, SEGMENT, first)
    assert units == cut(first)
    written = path.read_bytes()
    assert load_or_cut(path, SEGMENT, second) == units
    assert path.read_bytes() == written
    assert list(path.parent.iterdir()) == [path]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_torn_cut_is_made_anew(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A cut file that is cut short, changed in any byte, or of anything else, was never used and is written again."""
    path = tmp_path_factory.mktemp("cut") / f"{SEGMENT}.cut"
    rows = [placement("spans_data", [0, 1, 2, 5], [JANUARY_2026, JANUARY_2026, JANUARY_2026 + 1, JANUARY_2026])]
    units = load_or_cut(path, SEGMENT, rows)
    whole = path.read_bytes()
    position, change = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    changed = whole[:position] + bytes([whole[position] ^ change]) + whole[position + 1 :]
    path.write_bytes(data.draw(st.sampled_from([whole[:position], changed]) | st.binary(max_size=20)))
    assert load_or_cut(path, SEGMENT, rows) == units
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "document",
    [
        [],
        None,
        5,
        {"segment": SEGMENT},
        {"segment": SEGMENT, "units": [], "sha256": None},
        {"segment": SEGMENT, "units": [{"number": 0}], "sha256": hashlib.sha256(b'[{"number":0}]').hexdigest()},
        {"segment": SEGMENT, "units": [5], "sha256": hashlib.sha256(b"[5]").hexdigest()},
    ],
)
def test_a_file_that_is_no_cut_is_replaced(tmp_path: Path, document: object) -> None:
    """JSON that is not a cut is no error: the segment is cut anew."""
    path = tmp_path / f"{SEGMENT}.cut"
    path.write_bytes(orjson.dumps(document))
    rows = [placement("spans_data", [0], [JANUARY_2026])]
    assert load_or_cut(path, SEGMENT, rows) == cut(rows)
    assert load_or_cut(path, SEGMENT, []) == cut(rows)


def test_another_segment_s_cut_is_not_taken(tmp_path: Path) -> None:
    """A cut file that was copied beside another segment is not that segment's."""
    path = tmp_path / "copied.cut"
    load_or_cut(path, "another", [placement("spans_data", [0, 1], [JANUARY_2026, JANUARY_2026])])
    rows = [placement("spans_data", [0], [JANUARY_2026])]
    assert load_or_cut(path, SEGMENT, rows) == cut(rows)


@given(st.text("0123456789abcdef-", min_size=1), st.integers(0, 10_000))
def test_a_token_depends_on_segment_and_number_alone(segment: str, number: int) -> None:
    """A unit that is sent again has the token that it had, as docs/spool.md gives it; no other unit has it."""
    unit = Unit(number, "spans_data", "202601", [(0, 1)])
    assert token(segment, unit) == hashlib.sha256(f"{segment}/{number}".encode()).hexdigest()
    assert token(segment, replace(unit, ranges=[(5, 9)])) == token(segment, unit)
    assert token(segment, replace(unit, number=number + 1)) != token(segment, unit)
    assert token(f"{segment}0", unit) != token(segment, unit)


def test_tokens_outlive_a_restart(tmp_path: Path) -> None:
    """The units that are read from a cut file have the tokens of those that were written."""
    path = tmp_path / f"{SEGMENT}.cut"
    rows = [placement("spans_data", [0, 1], [JANUARY_2026, JANUARY_2026 + 1])]
    tokens = [token(SEGMENT, unit) for unit in load_or_cut(path, SEGMENT, rows)]
    assert [token(SEGMENT, unit) for unit in load_or_cut(path, SEGMENT, rows)] == tokens
    assert len(set(tokens)) == 2
