"""Cost: keeps the cost that the sender reported, or computes it from model prices, and says which of the two it is.

What can be neither is null, never 0: an unknown cost must not look like a free call.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from config import Model
from processors.genai_table import Sender
from processors.money import units, usd
from processors.prices import Tokens, price

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otlp.batch import SpanBatch
    from otlp.types import NullableColumn
    from processors.base import Context, Processor
    from processors.prices import Price

_Call: TypeAlias = "tuple[Any, ...]"
"""Model, provider and source, start (nanoseconds), and tokens by kind."""
REPORTED, COMPUTED = "reported", "computed"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AMOUNTS = ("CostUsd", "InputCostUsd", "OutputCostUsd")
_TOKENS = ("InputTokens", "OutputTokens", "CachedInputTokens", "CacheWriteTokens")


class CostSettings(Model):
    """Cost has no settings yet."""


def create(_: CostSettings) -> Processor:
    """The cost step."""
    return attribute


def attribute(batch: SpanBatch, _: Context) -> SpanBatch:
    """Add `CostSource`, and costs where a call has usage and a known model but no reported cost.

    Without the canonical columns of the genai step there is nothing to go by, and the batch stays as it is.
    """
    if "CallId" not in batch.columns:
        return batch
    reported = batch.numbers("CostUsd").valid
    sources = np.where(reported, REPORTED, "").astype(np.object_)
    unpriced = ~reported & (batch.texts("CallId") != "") & (batch.texts("Model") != "")
    if not unpriced.any():
        return batch.with_columns({"CostSource": sources})
    amounts = {name: batch.numbers(name).copy() for name in _AMOUNTS}
    for row, call in _calls(batch, np.flatnonzero(unpriced)):
        found = _price(*call)
        if found is None:
            continue
        for name, amount in zip(_AMOUNTS, found, strict=True):
            exact = units(usd(amount))
            if exact is not None:
                amounts[name].values[row], amounts[name].valid[row] = exact, True
        if amounts["CostUsd"].valid[row]:
            sources[row] = COMPUTED
    return batch.with_columns({**amounts, "CostSource": sources})


def _calls(batch: SpanBatch, rows: np.ndarray) -> Iterator[tuple[int, _Call]]:
    """What a price depends on, for each of these rows."""
    tokens = (_known(batch.numbers(name), rows) for name in _TOKENS)
    texts = (batch.texts(name)[rows].tolist() for name in ("Model", "Provider", "Source"))
    yield from zip(rows.tolist(), zip(*texts, batch.spans.start[rows].tolist(), *tokens, strict=True), strict=True)


def _known(column: NullableColumn, rows: np.ndarray) -> list[int | None]:
    values, valid = column.values[rows].tolist(), column.valid[rows].tolist()
    return [value if is_known else None for value, is_known in zip(values, valid, strict=True)]


def _price(model: str, provider: str, source: str, start: int, *tokens: int | None) -> Price | None:
    used = Tokens(*tokens)
    if used.input is None and used.output is None:
        return None
    at = _EPOCH + timedelta(microseconds=start // 1000)
    return price(model, provider, used, at, via_openrouter=source == Sender.BROADCAST.value)
