"""Rows that are refused for good are told from their neighbours by halving."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bisection import MOST_IN_A_ROW, insert_all_but_bad
from otlp.errors import PermanentError, RetryableError

TOKEN = "of the unit"


class Table:
    """Takes inserts without bad numbers, and ignores those with a token that it knows."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.rows: list[int] = []
        self.tokens: list[str] = []
        self.inserts = 0

    def insert(self, rows: pa.Table, token: str) -> None:
        """Store rows, or refuse them all."""
        self.inserts += 1
        numbers = rows["number"].to_pylist()
        if self.bad.intersection(numbers):
            raise PermanentError("bad", reason="refused")
        if token not in self.tokens:
            self.tokens.append(token)
            self.rows += numbers


def rows(count: int) -> pa.Table:
    """Rows that are numbered."""
    return pa.table({"number": list(range(count))})


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=8))
def test_every_row_is_stored_once_or_refused(count: int, bad: set[int]) -> None:
    """However the bad ones lie, exactly they are refused, one by one, and all others are stored in their order."""
    table = Table(bad)
    refused = insert_all_but_bad(rows(count), TOKEN, table.insert)
    assert table.rows == [number for number in range(count) if number not in bad]
    assert [(part.start, part.stop) for part in refused] == [(n, n + 1) for n in sorted(bad) if n < count]


def test_one_bad_row_among_ten_thousand_costs_few_inserts() -> None:
    """Each halving brings the search one step on: a bad row costs about two inserts for every doubling of the unit."""
    table = Table({1234})
    insert_all_but_bad(rows(10_000), TOKEN, table.insert)
    assert table.inserts <= 2 * 14 + 2


def test_many_bad_rows_are_all_told_from_their_neighbours() -> None:
    """As long as good rows are found among the bad ones, the search goes on until each bad row stands alone."""
    bad = set(range(0, 6000, 40))
    table = Table(bad)
    refused = insert_all_but_bad(rows(6000), TOKEN, table.insert)
    assert {part.start for part in refused} == bad
    assert len(table.rows) == 6000 - len(bad)


def test_no_row_is_given_up_for_one_answer() -> None:
    """A row that is refused once and then taken, as one that was damaged on its way, is stored."""
    table = Table(set())
    faults = iter([PermanentError("damaged", reason="refused")])

    def insert(part: pa.Table, token: str) -> None:
        fault = next(faults, None)
        if fault is not None:
            raise fault
        table.insert(part, token)

    assert insert_all_but_bad(rows(1), TOKEN, insert) == []
    assert table.rows == [0]


def test_a_unit_that_is_bad_throughout_ends_soon() -> None:
    """When nearly everything is refused, the rest is refused in large parts, so that it does not go on for ever."""
    table = Table(set(range(100_000)))
    refused = insert_all_but_bad(rows(100_000), TOKEN, table.insert)
    assert table.inserts < 3 * MOST_IN_A_ROW
    assert sum(part.stop - part.start for part in refused) == 100_000


def test_what_is_sent_again_has_the_same_tokens() -> None:
    """A unit that broke off amid its halves is sent again, and nothing of it is stored twice."""
    table = Table({70})
    faults = iter([None, None, None, RetryableError("away")])

    def insert(part: pa.Table, token: str) -> None:
        fault = next(faults, None)
        if fault is not None:
            raise fault
        table.insert(part, token)

    with pytest.raises(RetryableError):
        insert_all_but_bad(rows(100), TOKEN, insert)
    insert_all_but_bad(rows(100), TOKEN, insert)
    assert sorted(table.rows) == [number for number in range(100) if number != 70]
    assert len(table.rows) == len(set(table.rows))


def test_a_unit_without_bad_rows_is_sent_once_under_its_own_token() -> None:
    """What is not refused is one insert."""
    table = Table(set())
    assert insert_all_but_bad(rows(5), TOKEN, table.insert) == []
    assert (table.inserts, table.tokens) == (1, [TOKEN])
