"""Rows as tests look at them: unpacked, with all columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from exporters.clickhouse.rows import encode as pack
from exporters.clickhouse.rows import layout

if TYPE_CHECKING:
    from otlp.batch import SpanBatch


def encode(batch: SpanBatch) -> pa.RecordBatch:
    """The rows of a batch as the exporter inserts them."""
    wide = layout().unpack(pa.Table.from_batches([pack(batch)])).combine_chunks()
    return pa.RecordBatch.from_arrays([pa.concat_arrays(column.chunks) for column in wide.columns], schema=wide.schema)
