"""Numbers in whatever form senders write them: counts, milliseconds and dollars are exact, or null."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.money import usd
from tests.processors.chain import processed, sdk

TOKENS, COST = "gen_ai.usage.input_tokens", "gen_ai.usage.total_cost"
TTFT = "trace.metadata.openrouter.first_token_ms"
NAN = {"doubleValue": "NaN"}
INFINITY = {"doubleValue": "Infinity"}


def _value(key: str, value: Any, column: str) -> Any:
    [row] = processed(sdk({key: value}))
    return row[column]


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (0, 0),
        (18432, 18432),
        (2**63 - 1, 2**63 - 1),
        (-1, None),
        (12.0, 12),
        (12.5, None),
        (-0.0, 0),
        (1e300, None),
        (NAN, None),
        (INFINITY, None),
        ("12", 12),
        (" 12 ", 12),
        ("12.0", 12),
        ("1e3", 1000),
        ("-1", None),
        ("9" * 30, None),
        ("many", None),
        ("", None),
        (True, None),
        ([1], None),
        ({}, None),
    ],
)
def test_counts(value: Any, count: int | None) -> None:
    """A count is a whole number from 0 in any form; anything else is unknown."""
    assert _value(TOKENS, value, "InputTokens") == count


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [(902, 902.0), (0.5, 0.5), ("27", 27.0), (0, 0.0), (NAN, None), (INFINITY, None), ("1e400", None), ("x", None)],
)
def test_milliseconds(value: Any, milliseconds: float | None) -> None:
    """A time is any finite number in any form; anything else is unknown."""
    assert _value(TTFT, value, "TimeToFirstTokenMs") == milliseconds


@pytest.mark.parametrize("value", [0.25, "0.25"])
def test_seconds_become_milliseconds(value: Any) -> None:
    """A time that its key gives in seconds is stored in milliseconds."""
    assert _value("gen_ai.response.time_to_first_chunk", value, "TimeToFirstTokenMs") == 250.0


@pytest.mark.parametrize(
    ("value", "cost"),
    [
        (0, "0"),
        (0.01246, "0.01246"),
        (1e-06, "0.000001"),
        (51, "51"),
        (51.0, "51"),
        ("0.01246", "0.01246"),
        ("0.0000000000005", "0"),
        ("0.0000000000015", "0.000000000002"),
        (-0.018, "-0.018"),
        (999_999, "999999"),
        (1_000_000, None),
        (-(2**63), None),
        (1e300, None),
        (NAN, None),
        (INFINITY, None),
        ("free", None),
        ("NaN", None),
        (False, None),
        ([0.1], None),
    ],
)
def test_dollars(value: Any, cost: str | None) -> None:
    """A cost is exact to 12 decimals in any form; what is none is unknown, not 0, and is not called reported."""
    [row] = processed(sdk({COST: value}))
    assert row["CostUsd"] == (None if cost is None else Decimal(cost))
    assert row["CostSource"] == ("" if cost is None else "reported")


@settings(deadline=None, max_examples=25)
@given(
    costs=st.lists(
        st.floats(-2e6, 2e6)
        | st.floats(0, 1)
        | st.integers(-(2**63), 2**63 - 1)
        | st.decimals(-2, 2, places=15).map(str),
        min_size=1,
        max_size=20,
    )
)
def test_a_column_of_costs_is_as_each_cost_alone(costs: list[float | int | str]) -> None:
    """Each cost of a batch is the amount that it is alone."""
    rows = processed(*(sdk({COST: cost}) for cost in costs))
    assert [row["CostUsd"] for row in rows] == [usd(cost) for cost in costs]
