"""Cost: what the sender reported stands; otherwise it is computed for calls of known models; else it is unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage, calc_price

from processors.money import usd
from tests.otlp.messages import batch_of
from tests.processors.chain import START, chat, openrouter, process, processed, sdk

COSTS = ("CostUsd", "InputCostUsd", "OutputCostUsd")


def _row(delivery: dict[str, Any]) -> dict[str, Any]:
    [row] = processed(delivery)
    return row


def test_a_reported_cost_stands() -> None:
    """A cost that the sender reports is kept and called reported, whatever the catalogue says."""
    row = _row(sdk(chat(gen_ai__usage__cost=0.5)))
    assert (row["CostUsd"], row["InputCostUsd"], row["CostSource"]) == (Decimal("0.5"), None, "reported")


def test_a_reported_cost_of_zero_is_a_cost() -> None:
    """A reported 0 is a free call: it is kept, and not replaced by a price."""
    row = _row(sdk(chat(gen_ai__usage__cost=0)))
    assert (row["CostUsd"], row["CostSource"]) == (Decimal(0), "reported")


def test_a_chat_span_is_priced_from_the_catalogue() -> None:
    """A call without a cost costs what the installed catalogue says for its model, tokens and time."""
    values = chat(gen_ai__usage__cache_read__input_tokens=400)
    row = _row(sdk(values, startTimeUnixNano=START))
    usage = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400)
    expected = calc_price(usage, "gpt-4o-mini-2024-07-18", provider_id="openai")
    assert row["CostUsd"] == usd(expected.total_price)
    assert row["InputCostUsd"] == usd(expected.input_price)
    assert row["OutputCostUsd"] == usd(expected.output_price)
    assert row["CostUsd"] > 0
    assert row["CostSource"] == "computed"


def test_openrouters_calls_are_priced_as_openrouter_sells_them() -> None:
    """A Broadcast call without a cost is priced by OpenRouter's or its author's prices of that model."""
    values = {
        "span.type": "generation",
        "gen_ai.operation.name": "chat",
        "gen_ai.response.model": "openai/gpt-4o-mini",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
    }
    row = _row(openrouter(values))
    assert row["CostSource"] == "computed"
    assert row["CostUsd"] == Decimal("0.00021")


@pytest.mark.parametrize(
    "changes",
    [
        {"gen_ai.response.model": "no-such-model", "gen_ai.request.model": "no-such-model"},
        {"gen_ai.response.model": "", "gen_ai.request.model": ""},
        {"gen_ai.usage.input_tokens": "?", "gen_ai.usage.output_tokens": "?"},
        {"gen_ai.operation.name": "invoke_agent"},
        {"gen_ai.provider.name": "no-such-provider"},
    ],
)
def test_what_cannot_be_priced_is_unknown(changes: dict[str, Any]) -> None:
    """Without a known model, provider and usage, or for what is no call, the cost is null and has no source."""
    row = _row(sdk(chat() | changes))
    assert [row[name] for name in COSTS] == [None, None, None]
    assert row["CostSource"] == ""


def test_rows_are_priced_one_by_one() -> None:
    """In one batch each call has its own cost and source."""
    rows = processed(
        sdk(chat(gen_ai__usage__cost=0.5)),
        sdk(chat()),
        sdk({}),
        sdk(chat(gen_ai__usage__input_tokens=2000, gen_ai__usage__output_tokens=200)),
    )
    assert [row["CostSource"] for row in rows] == ["reported", "computed", "", "computed"]
    assert rows[3]["CostUsd"] == 2 * rows[1]["CostUsd"]
    assert [row["CostUsd"] is None for row in rows] == [False, False, True, False]


def test_without_canonical_columns_nothing_is_added() -> None:
    """Where the genai step has not run, the cost step leaves the batch as it is."""
    batch = batch_of(sdk(chat()))
    assert process(batch, "cost") is batch
