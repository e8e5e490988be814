"""Metadata: what the caller put into OpenRouter's `trace` object, as text by key.

The keys lose their `trace.metadata.` prefix; what OpenRouter adds under the same prefix is not the caller's and is left
out. All of it stays among the span's attributes too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from config import Model
from otlp.attributes import JSON
from otlp.batch import Pairs
from otlp.content import KeyRule
from otlp.types import texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otlp.batch import SpanBatch
    from otlp.types import BoolColumn, Int32Column, TextColumn
    from processors.base import Context, Processor

_PREFIX = "trace.metadata."
_NOT_THE_CALLERS = ("trace.metadata.openrouter.", "trace.metadata.openrouter_generation.")
_PROVIDER_RESPONSES = "trace.metadata.provider_responses"


class MetadataSettings(Model):
    """Metadata has no settings yet."""


def create(_: MetadataSettings) -> Processor:
    """The metadata step."""
    return flatten


def is_callers(key: str) -> bool:
    """Whether an attribute's key holds the caller's own metadata."""
    return key.startswith(_PREFIX) and not key.startswith(_NOT_THE_CALLERS) and key != _PROVIDER_RESPONSES


_IS_CALLERS = KeyRule(is_callers)


def flatten(batch: SpanBatch, _: Context) -> SpanBatch:
    """Fill `SpanBatch.metadata`: nested key-value lists become dotted keys, other values their text."""
    attributes = batch.span_attributes
    rows = attributes.where(_IS_CALLERS).nonzero()[0].astype(np.int32)
    if not len(rows):
        return batch
    owner, value = attributes.owner[rows], attributes.text(rows)
    key = texts([attributes.keys[code].removeprefix(_PREFIX) for code in attributes.key[rows].tolist()])
    nested = attributes.type[rows] == JSON
    if nested.any():
        return replace(batch, metadata=_spread(owner, key, value, nested))
    return replace(batch, metadata=Pairs(owner, key, value))


def _spread(owner: Int32Column, key: TextColumn, value: TextColumn, nested: BoolColumn) -> Pairs:
    """Replace each nested value by the pairs it holds."""
    owners, keys, values = [], [], []
    for row, name, text, is_nested in zip(owner.tolist(), key, value, nested, strict=True):
        for dotted, plain in _leaves(name, orjson.loads(text)) if is_nested else ((name, text),):
            owners.append(row)
            keys.append(dotted)
            values.append(plain)
    return Pairs(np.array(owners, np.int32), texts(keys), texts(values))


def _leaves(name: str, value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The text values below an OTLP/JSON value, with dotted keys."""
    if "kvlistValue" in value:
        for entry in value["kvlistValue"]["values"]:
            yield from _leaves(f"{name}.{entry['key']}", entry["value"])
        return
    plain = _plain(value)
    if plain is not None:
        yield name, plain if isinstance(plain, str) else orjson.dumps(plain).decode()


def _plain(value: dict[str, Any]) -> Any:
    """An OTLP/JSON value as the JSON value it stands for; integers come back from text."""
    for kind, content in value.items():
        match kind:
            case "intValue":
                return int(content)
            case "arrayValue":
                return [_plain(item) for item in content["values"]]
            case "kvlistValue":
                return {entry["key"]: _plain(entry["value"]) for entry in content["values"]}
            case _:
                return content
    return None
