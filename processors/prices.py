"""Prices of models, from the genai-prices catalogue that is installed with Tollgate; it is never fetched.

A span from OpenRouter is priced as OpenRouter sells it, any other span as its own provider does: the two may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


def price(model: str, provider: str, tokens: Tokens, at: datetime, *, via_openrouter: bool) -> Price | None:
    """The list price of a call made at `at`, or None if the catalogue does not know the model."""
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
