"""Cost: keeps the cost that the sender reported, or computes it from model prices, and says which of the two it is.

What can be neither is null, never 0: an unknown cost must not look like a free call.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config import Model
from processors import convert
from processors.genai_table import Sender
from processors.prices import Tokens, price

if TYPE_CHECKING:
    from decimal import Decimal

    from otlp.batch import SpanBatch
    from processors.base import Context, Processor

REPORTED, COMPUTED = "reported", "computed"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEEDED = ("CostUsd", "CallId", "Model")


class CostSettings(Model):
    """Cost has no settings yet."""


def create(_: CostSettings) -> Processor:
    """The cost step."""
    return attribute


def attribute(batch: SpanBatch, _: Context) -> SpanBatch:
    """Add `CostSource`, and costs where a call has usage and a known model but no reported cost.

    Without the canonical columns of the genai step there is nothing to go by, and the batch stays as it is.
    """
    if not all(name in batch.columns for name in _NEEDED):
        return batch
    columns = batch.columns
    reported = columns["CostUsd"].is_valid().to_numpy(zero_copy_only=False)
    is_call = pc.not_equal(columns["CallId"], "").to_numpy(zero_copy_only=False)
    named = pc.not_equal(columns["Model"], "").to_numpy(zero_copy_only=False)
    unpriced = np.flatnonzero(is_call & named & ~reported)
    sources = np.where(reported, REPORTED, "").astype(object)
    if not len(unpriced):
        return batch.with_columns({"CostSource": pa.array(sources, pa.string())})
    costs = {name: columns[name].to_pylist() for name in ("CostUsd", "InputCostUsd", "OutputCostUsd")}
    for row in unpriced.tolist():
        computed = _compute(batch, row)
        if computed is not None:
            sources[row] = COMPUTED
            costs["CostUsd"][row], costs["InputCostUsd"][row], costs["OutputCostUsd"][row] = computed
    priced = {name: pa.array(values, convert.USD) for name, values in costs.items()}
    return batch.with_columns({**priced, "CostSource": pa.array(sources, pa.string())})


def _compute(batch: SpanBatch, row: int) -> tuple[Decimal | None, ...] | None:
    def value(name: str) -> Any:
        return batch.columns[name][row].as_py()

    tokens = Tokens(*map(value, ("InputTokens", "OutputTokens", "CachedInputTokens", "CacheWriteTokens")))
    if tokens.input is None and tokens.output is None:
        return None
    found = price(
        value("Model"),
        value("Provider"),
        tokens,
        _EPOCH + timedelta(microseconds=int(batch.spans.start[row]) // 1000),
        via_openrouter=value("Source") == Sender.BROADCAST.value,
    )
    return None if found is None else tuple(convert.usd(amount) for amount in found)
