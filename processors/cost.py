"""Cost: keeps the cost that the sender reported, or computes it from model prices, and says which of the two it is.

What can be neither is null, never 0: an unknown cost must not look like a free call.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from config import Model
from processors.genai_table import Sender
from processors.money import units, usd
from processors.prices import Tokens, price

if TYPE_CHECKING:
    from otlp.batch import SpanBatch
    from processors.base import Context, Processor
    from processors.prices import Price

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
    for row in np.flatnonzero(unpriced).tolist():
        found = _price(batch, row)
        if found is None:
            continue
        for name, amount in zip(_AMOUNTS, found, strict=True):
            exact = units(usd(amount))
            if exact is not None:
                amounts[name].values[row], amounts[name].valid[row] = exact, True
        if amounts["CostUsd"].valid[row]:
            sources[row] = COMPUTED
    return batch.with_columns({**amounts, "CostSource": sources})


def _price(batch: SpanBatch, row: int) -> Price | None:
    used = [batch.numbers(name) for name in _TOKENS]
    tokens = Tokens(*(int(column.values[row]) if column.valid[row] else None for column in used))
    if tokens.input is None and tokens.output is None:
        return None
    return price(
        batch.texts("Model")[row],
        batch.texts("Provider")[row],
        tokens,
        _EPOCH + timedelta(microseconds=int(batch.spans.start[row]) // 1000),
        via_openrouter=batch.texts("Source")[row] == Sender.BROADCAST.value,
    )
