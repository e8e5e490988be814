"""The canonical columns and the attribute keys that fill them, in order: the first one present wins.

This is data. A further dialect is further keys at the right places. Keys of the resource are asked after those of the
span. Sources: OpenTelemetry GenAI semantic conventions; OpenRouter Broadcast documentation and captures.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What a column holds, and what it is when absent: TEXT is empty then, the others are null."""

    TEXT = auto()
    COUNT = auto()
    """A whole number of tokens, 0 or more."""
    MILLISECONDS = auto()
    USD = auto()


class Sender(Enum):
    """Who sent a span: OpenRouter Broadcast, or an SDK."""

    BROADCAST = "broadcast"
    SDK = "sdk"


class Transform(Enum):
    """What is done to a value before it goes into its column."""

    NONE = auto()
    FIRST = auto()
    """The first item of a list, which may also come as JSON text."""
    GENERATION = auto()
    """OpenRouter's child spans append `:attempt-<n>` or `:generation` to the generation's id."""
    SECONDS = auto()
    """Seconds, to be milliseconds."""


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute key; `sender` restricts it to spans of that sender. Keys of resources have neither restriction."""

    name: str
    sender: Sender | None = None
    transform: Transform = Transform.NONE
    of_resource: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A canonical column, by its name in ClickHouse."""

    name: str
    kind: Kind
    keys: tuple[Key, ...]


def _column(name: str, kind: Kind, *keys: str | Key) -> Column:
    return Column(name, kind, tuple(Key(key) if isinstance(key, str) else key for key in keys))


def _resource(name: str) -> Key:
    return Key(name, of_resource=True)


_TEXT, _COUNT, _USD = Kind.TEXT, Kind.COUNT, Kind.USD
_OPENROUTER = "trace.metadata.openrouter."
_GENERATION = "trace.metadata.openrouter_generation."

SPAN_TYPE = "span.type"
TEST_MARK = "trace.metadata.source"

COLUMNS: tuple[Column, ...] = (
    # Not stored: they decide what kind of span this is.
    _column(SPAN_TYPE, _TEXT, SPAN_TYPE),
    _column(TEST_MARK, _TEXT, Key(TEST_MARK, Sender.BROADCAST)),
    # Identity and attribution
    _column(
        "GenerationId",
        _TEXT,
        Key("gen_ai.response.id", Sender.BROADCAST, Transform.GENERATION),
        Key("gen_ai.response.id", Sender.SDK),
        _resource("openrouter.trace.id"),
    ),
    _column("ServiceName", _TEXT, _resource("service.name")),
    _column("UserId", _TEXT, "user.id", f"{_OPENROUTER}user_id", "enduser.id"),
    _column("SessionId", _TEXT, "session.id", "gen_ai.conversation.id"),
    _column("ApiKeyName", _TEXT, f"{_OPENROUTER}api_key_name"),
    _column(
        "Environment",
        _TEXT,
        "trace.metadata.environment",
        _resource("deployment.environment.name"),
        _resource("deployment.environment"),
    ),
    # Model and provider. Broadcast's gen_ai.provider.name is the model's author; who served it has a key of its own.
    _column("Operation", _TEXT, "gen_ai.operation.name"),
    _column("Model", _TEXT, "gen_ai.response.model", "gen_ai.request.model"),
    _column("ModelRequested", _TEXT, "gen_ai.request.model"),
    _column(
        "ModelAuthor",
        _TEXT,
        Key("gen_ai.provider.name", Sender.BROADCAST),
        Key("gen_ai.system", Sender.BROADCAST),
    ),
    _column(
        "Provider",
        _TEXT,
        f"{_OPENROUTER}provider_name",
        Key("gen_ai.provider.name", Sender.SDK),
        Key("gen_ai.system", Sender.SDK),
    ),
    _column(
        "FinishReason",
        _TEXT,
        "gen_ai.response.finish_reason",
        Key("gen_ai.response.finish_reasons", transform=Transform.FIRST),
    ),
    # Tokens: input includes what was cached, output includes reasoning
    _column("InputTokens", _COUNT, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    _column("OutputTokens", _COUNT, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    _column("TotalTokens", _COUNT, "gen_ai.usage.total_tokens"),
    _column("CachedInputTokens", _COUNT, "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.input_tokens.cached"),
    _column(
        "CacheWriteTokens",
        _COUNT,
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.input_tokens.cache_write",
        f"{_GENERATION}cache_write_tokens",
    ),
    _column("ReasoningTokens", _COUNT, "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.output_tokens.reasoning"),
    # Reported cost. The conventions have none; the total has fees that neither part has.
    _column("CostUsd", _USD, "gen_ai.usage.total_cost", "gen_ai.usage.cost", f"{_GENERATION}usage"),
    _column("InputCostUsd", _USD, "gen_ai.usage.input_cost"),
    _column("OutputCostUsd", _USD, "gen_ai.usage.output_cost"),
    # Timing
    _column(
        "TimeToFirstTokenMs",
        Kind.MILLISECONDS,
        f"{_OPENROUTER}first_token_ms",
        f"{_OPENROUTER}provider_time_to_first_token_ms",
        Key("gen_ai.response.time_to_first_chunk", transform=Transform.SECONDS),
    ),
)

CALLS = frozenset({"chat", "generate_content", "text_completion", "embeddings"})
"""The operations of the GenAI conventions that are one call of a model; agents and workflows restate their children."""
