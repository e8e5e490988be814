"""An OpenRouter-shaped delivery with fresh ids and times: what `send-sample` sends and tests start from."""

from __future__ import annotations

import copy
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

_TEMPLATE = Path(__file__).with_name("sample_delivery.json")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@cache
def _template() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_TEMPLATE.read_text())
    return document


def generation_id(seconds: int, random: bytes) -> str:
    """An id as OpenRouter gives it to a generation: its second, and 20 letters and digits from `random`."""
    return f"gen-{seconds}-" + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in random[:20])


def sample_delivery(generation: str, start: int) -> dict[str, Any]:
    """The delivery of one generation that began at `start` (nanoseconds since 1970), as OTLP/JSON.

    Three spans as OpenRouter sends them: the root, the attempt at a provider, and the generation. Their ids are hashes
    of the generation's id.
    """
    template = _template()
    original = template["resourceSpans"][0]["resource"]["attributes"][1]["value"]["stringValue"]
    first = min(int(span["startTimeUnixNano"]) for span in _spans(template))
    document: dict[str, Any] = json.loads(json.dumps(copy.deepcopy(template)).replace(original, generation))
    trace_id = hashlib.sha256(generation.encode()).hexdigest()[:32]
    for span in _spans(document):
        own = next(a for a in span["attributes"] if a["key"] == "gen_ai.response.id")["value"]["stringValue"]
        span["traceId"] = trace_id
        span["spanId"] = hashlib.sha256(own.encode()).hexdigest()[:16]
        if "parentSpanId" in span:
            span["parentSpanId"] = trace_id[:16]
        for time in ("startTimeUnixNano", "endTimeUnixNano"):
            span[time] = str(int(span[time]) - first + start)
    return document


def _spans(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        span for resource in document["resourceSpans"] for scope in resource["scopeSpans"] for span in scope["spans"]
    ]
