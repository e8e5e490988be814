"""Prices of the installed catalogue, under the names that senders use for providers and models."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.prices import Tokens, _calculated, price

AT = datetime(2026, 1, 2, tzinfo=UTC)
TOKENS = Tokens(1000, 100, None, None)


def test_a_price_is_the_sum_of_its_parts() -> None:
    """The total is input plus output, in exact dollars."""
    found = price("gpt-4o-mini", "openai", TOKENS, AT, via_openrouter=False)
    assert found is not None
    assert found.total == found.input + found.output == Decimal("0.00021")


def test_cached_input_costs_less() -> None:
    """Input that was read from the cache is part of the input and cheaper than the rest."""
    whole = price("gpt-4o-mini", "openai", TOKENS, AT, via_openrouter=False)
    cached = price("gpt-4o-mini", "openai", Tokens(1000, 100, 800, None), AT, via_openrouter=False)
    assert whole is not None
    assert cached is not None
    assert cached.total < whole.total


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gemini-2.0-flash", "gcp.gemini"),
        ("gemini-2.0-flash", "gcp.vertex_ai"),
        ("gpt-4o", "azure.ai.openai"),
        ("mistral-large-latest", "mistral_ai"),
        ("grok-3", "x_ai"),
        ("claude-3-5-sonnet-latest", "anthropic"),
        ("gpt-4o-mini", ""),
    ],
)
def test_providers_are_known_by_their_opentelemetry_names(model: str, provider: str) -> None:
    """A provider is found under the name that the GenAI conventions give it."""
    found = price(model, provider, TOKENS, AT, via_openrouter=False)
    assert found is not None
    assert found.total > 0


@pytest.mark.parametrize("suffix", ["", ":nitro", ":floor", ":online", ":exacto"])
def test_openrouters_routing_suffixes_do_not_hide_a_model(suffix: str) -> None:
    """A slug of OpenRouter has the price of its model, whatever routing it asks for."""
    plain = price("openai/gpt-4o-mini", "OpenAI", TOKENS, AT, via_openrouter=True)
    routed = price(f"openai/gpt-4o-mini{suffix}", "Azure", TOKENS, AT, via_openrouter=True)
    assert plain is not None
    assert routed == plain


@pytest.mark.parametrize("model", ["no-such-model", "nobody/no-such-model", "", "/", ":nitro"])
@pytest.mark.parametrize("via_openrouter", [True, False])
def test_an_unknown_model_has_no_price(model: str, *, via_openrouter: bool) -> None:
    """What the catalogue does not know has no price."""
    assert price(model, "openai", TOKENS, AT, via_openrouter=via_openrouter) is None


@pytest.mark.parametrize("tokens", [Tokens(10, 1, 50, None), Tokens(10, 1, None, 50), Tokens(10, 1, 8, 8)])
def test_usage_that_contradicts_itself_does_not_raise(tokens: Tokens) -> None:
    """More cached than there was input is priced at no less than nothing, or not at all."""
    found = price("claude-3-5-sonnet-latest", "anthropic", tokens, AT, via_openrouter=False)
    assert found is None or found.total >= 0


@pytest.mark.parametrize("tokens", [Tokens(None, 100, None, None), Tokens(1000, None, None, None)])
def test_usage_known_in_part_is_priced_in_part(tokens: Tokens) -> None:
    """Where only input or only output is known, that part is priced."""
    found = price("gpt-4o-mini", "openai", tokens, AT, via_openrouter=False)
    assert found is not None
    assert found.total > 0


COUNTS = st.none() | st.integers(0, 3_000_000)


@given(
    st.sampled_from(
        [
            ("gpt-5-mini", "openai", False),
            ("openai/gpt-5-mini", "OpenAI", True),
            ("claude-sonnet-4-5", "anthropic", False),
            ("anthropic/claude-sonnet-4.5", "Anthropic", True),
            ("gemini-2.5-pro", "gcp.gemini", False),
            ("deepseek-chat", "deepseek", False),
            ("no-such-model", "openai", False),
        ]
    ),
    st.builds(Tokens, COUNTS, COUNTS, COUNTS, COUNTS),
    st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds it
)
def test_a_price_is_what_the_catalogue_calculates(call: tuple[str, str, bool], tokens: Tokens, at: datetime) -> None:
    """However the price is found, by multiplying or by tiers, it is the catalogue's, in exact dollars."""
    model, provider, via_openrouter = call
    found = price(model, provider, tokens, at, via_openrouter=via_openrouter)
    assert found == _calculated(model, provider, tokens, at, via_openrouter=via_openrouter)
