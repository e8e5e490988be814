"""Runs deliveries through the processors as the gateway does and gives the rows that come out, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config import DestinationSettings
from gateway.sample import sample_delivery
from processors.base import Context
from processors.registry import PROCESSORS
from tests.otlp.messages import attributes, batch_of, document, rows_of, span
from tests.rows import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otlp.batch import Request, SpanBatch
    from processors.base import Processor

GENERATION = "gen-1795304410-Kd83mQvZrT5nYx2LpHa7"
SECOND = 10**9
START = 1_795_304_410_482_000_000
CONTEXT = Context(
    {
        "default": DestinationSettings(),
        "open": DestinationSettings(),
        "private": DestinationSettings.model_validate({"privacy": {"mode": "content"}}),
    }
)


def step(name: str) -> Processor:
    """A processor of the registry with its default settings."""
    entry = PROCESSORS[name]
    return entry.create(entry.settings())


def process(batch: SpanBatch, *names: str) -> SpanBatch:
    """The batch after these processors, by default all of them in the order of the registry."""
    for name in names or PROCESSORS:
        batch = step(name)(batch, CONTEXT)
    return batch


def processed(*deliveries: Any, requests: Sequence[Request] = ()) -> list[dict[str, Any]]:
    """The rows of deliveries after all processors."""
    return rows_of(encode(process(batch_of(*deliveries, requests=requests))))


def sample() -> dict[str, Any]:
    """OpenRouter's delivery of one generation: root, attempt, generation."""
    return sample_delivery(GENERATION, START)


def sample_spans(delivery: dict[str, Any]) -> list[dict[str, Any]]:
    """The spans of a delivery, to be changed."""
    return [s for r in delivery["resourceSpans"] for c in r["scopeSpans"] for s in c["spans"]]


def openrouter(values: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A delivery of one span from OpenRouter Broadcast."""
    service = {"attributes": attributes({"service.name": "openrouter"})}
    return document(span(attributes=attributes(values), **fields), resource=service, scope={"name": "openrouter"})


def sdk(values: dict[str, Any], *, resource: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A delivery of one span from an OpenTelemetry SDK."""
    service = {"attributes": attributes({"service.name": "checkout"} | (resource or {}))}
    scope = {"name": "opentelemetry.instrumentation.openai_v2"}
    return document(span(attributes=attributes(values), **fields), resource=service, scope=scope)


def chat(**values: Any) -> dict[str, Any]:
    """The attributes of a chat span of the GenAI conventions; `values` are added, with `__` for a dot."""
    usual = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
    }
    return usual | {key.replace("__", "."): value for key, value in values.items()}
