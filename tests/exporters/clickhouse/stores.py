"""Stores deliveries through an exporter as the gateway does, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tests.otlp.messages import batch_of
from tests.processors.chain import process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporters.clickhouse.exporter import ClickHouseExporter
    from otlp.batch import Request


def table_of(exporter: ClickHouseExporter, *deliveries: Any, requests: Sequence[Request] = ()) -> pa.Table:
    """The rows of deliveries after all processors."""
    return exporter.unpack(pa.Table.from_batches([packed(exporter, *deliveries, requests=requests)]))


def packed(exporter: ClickHouseExporter, *deliveries: Any, requests: Sequence[Request] = ()) -> pa.RecordBatch:
    """The same rows as the spool keeps them."""
    return exporter.encode(process(batch_of(*deliveries, requests=requests)))


def store(exporter: ClickHouseExporter, rows: pa.Table, token: str) -> None:
    """Insert rows into every table that takes some of them."""
    for table, (indices, _) in exporter.place(rows).items():
        if len(indices):
            exporter.insert(table, rows.take(pa.array(indices)), token)
