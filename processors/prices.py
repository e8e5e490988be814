"""Prices of models, from the genai-prices catalogue that is installed with Tollgate; it is never fetched.

A span from OpenRouter is priced as OpenRouter sells it, any other span as its own provider does: the two may differ.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from genai_prices import Usage, calc_price

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

_OPENROUTER = "openrouter"
_ROUTING_SUFFIXES = (":nitro", ":online", ":floor", ":exacto")

_PROVIDERS = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "x_ai": "x-ai",
}
"""OpenTelemetry's provider names where the catalogue's differ."""

_AUTHORS = {"amazon": "aws", "mistralai": "mistral", "z-ai": "zai"}
"""OpenRouter's model authors where the catalogue's provider of the same models has another name."""


class Tokens(NamedTuple):
    """What a call used; None is unknown. Input includes what was read from and written to the cache."""

    input: int | None
    output: int | None
    cache_read: int | None
    cache_write: int | None


class Price(NamedTuple):
    """US dollars, not rounded."""

    total: Decimal
    input: Decimal
    output: Decimal


class _Rates(NamedTuple):
    """US dollars for a million tokens of each kind; input is what the cache did not have."""

    input: Decimal
    cache_read: Decimal
    cache_write: Decimal
    output: Decimal


_MILLION: Final = 1_000_000
_MANY: Final = 50


def price(model: str, provider: str, tokens: Tokens, at: datetime, *, via_openrouter: bool) -> Price | None:
    """The list price of a call made at `at`, or None if the catalogue does not know the model."""
    # No catalogue entry changes its price within a minute.
    rates = _rates(model, provider, at.replace(second=0, microsecond=0), via_openrouter=via_openrouter)
    cached, written = tokens.cache_read or 0, tokens.cache_write or 0
    if rates is None or tokens.input is None or tokens.output is None or tokens.input < cached + written:
        return _calculated(model, provider, tokens, at, via_openrouter=via_openrouter)
    rest = tokens.input - cached - written
    paid = (rest * rates.input + cached * rates.cache_read + written * rates.cache_write) / _MILLION
    output = tokens.output * rates.output / _MILLION
    return Price(paid + output, paid, output)


@lru_cache(maxsize=10_000)
def _rates(model: str, provider: str, at: datetime, *, via_openrouter: bool) -> _Rates | None:
    """What the catalogue asks for each kind of token; None if it does not know the model, or asks by other rules.

    Looking a price up costs fifty times as much as multiplying it, and there are few models.
    """

    def asked(*tokens: int) -> Price | None:
        return _calculated(model, provider, Tokens(*tokens), at, via_openrouter=via_openrouter)

    nothing = asked(0, 0, 0, 0)
    if nothing is None:
        return None
    prices = [
        asked(_MILLION, 0, 0, 0),
        asked(_MILLION, 0, _MILLION, 0),
        asked(_MILLION, 0, 0, _MILLION),
        asked(0, _MILLION, 0, 0),
        # In tiers, many tokens cost more, or less, than as many times one.
        asked(_MANY * _MILLION, _MANY * _MILLION, 0, 0),
        asked(1000, 1000, 0, 0),
    ]
    if any(each is None for each in prices):
        return None
    plain, read, written, output, many, few = (each for each in prices if each is not None)
    rates = _Rates(plain.input, read.input, written.input, output.output)
    is_linear = many.total == _MANY * (rates.input + rates.output) == _MANY * 1000 * few.total
    return rates if is_linear and not nothing.total else None


def _calculated(model: str, provider: str, tokens: Tokens, at: datetime, *, via_openrouter: bool) -> Price | None:
    """The price as the catalogue calculates it."""
    usage = Usage(
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
    )
    for provider_id, reference in _candidates(model, provider, via_openrouter=via_openrouter):
        try:
            result = calc_price(usage, reference, provider_id=provider_id, genai_request_timestamp=at)
        except (LookupError, ValueError):  # unknown model; usage that contradicts itself
            continue
        return Price(result.total_price, result.input_price, result.output_price)
    return None


def _candidates(model: str, provider: str, *, via_openrouter: bool) -> list[tuple[str | None, str]]:
    """Where to look the model up, in order."""
    if not via_openrouter and provider != _OPENROUTER:
        return [(_PROVIDERS.get(provider, provider) or None, model)]
    base = model
    for suffix in _ROUTING_SUFFIXES:
        base = base.removesuffix(suffix)
    candidates: list[tuple[str | None, str]] = [(_OPENROUTER, model), (_OPENROUTER, base)]
    author, slash, name = base.partition("/")
    if slash:
        candidates.append((_AUTHORS.get(author, author), name))
    return candidates
