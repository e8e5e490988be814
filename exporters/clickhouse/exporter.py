"""The ClickHouse exporter: what the gateway needs of a destination for rows.

It lays batches out as rows, says into which tables and partitions rows belong, and inserts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from exporters.clickhouse.arrow import table_schemas
from exporters.clickhouse.client import Client, Connection
from exporters.clickhouse.identities import count_stored
from exporters.clickhouse.migrations import migrate
from exporters.clickhouse.rows import CALLS, SPANS, encode, is_call, layout, project
from otlp.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from exporters.clickhouse.identities import Identity
    from exporters.clickhouse.settings import ClickHouseSettings, Login
    from otlp.batch import SpanBatch
    from otlp.types import Int64Column


class ClickHouseExporter:
    """Inserts rows into ClickHouse; blocking, for use in one thread at a time.

    It inserts as `writer` and keeps the schema up to date as `owner`, each the settings' own login if not given.
    """

    def __init__(
        self, settings: ClickHouseSettings, *, writer: Login | None = None, owner: Login | None = None
    ) -> None:
        self._settings = settings
        self._client = _client(settings, writer or settings.login)
        self._owner = owner or settings.login
        self._is_migrated = False

    @property
    def schema(self) -> pa.Schema:
        """The schema of the packed rows that `encode` makes."""
        return layout().packed

    def encode(self, batch: SpanBatch) -> pa.RecordBatch:
        """A batch as packed rows, one a span."""
        return encode(batch)

    def unpack(self, packed: pa.Table) -> pa.Table:
        """Packed rows with the columns of all tables."""
        return layout().unpack(packed)

    def place(self, rows: pa.Table) -> dict[str, tuple[Int64Column, Int64Column]]:
        """For each table, in the order of inserting: which rows it takes, and the month (since 1970) of each."""
        calls = np.flatnonzero(is_call(rows).to_numpy())
        everything = np.arange(rows.num_rows)
        return {
            SPANS: (everything, _months(rows["Timestamp"])),
            CALLS: (calls, _months(rows["CallTime"].take(pa.array(calls)))),
        }

    def project(self, rows: pa.Table, table: str) -> pa.Table:
        """The rows with the columns of a table, without a copy."""
        return project(rows, table)

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert rows into a table; RetryableError or PermanentError if ClickHouse does not confirm it.

        ClickHouse ignores an insert with a token that it has seen. `async_insert` is off because it would answer, and
        deduplicate, by other rules.
        """
        projected = project(rows, table).combine_chunks()
        expected = table_schemas()[table]
        if not projected.schema.equals(expected):
            raise PermanentError(f"The rows do not have the columns of {table}.", reason="schema_mismatch")
        if not self._is_migrated:
            try:
                self.migrate()
            except PermanentError as error:
                # The schema is at fault, not the rows: they wait until it is mended.
                raise RetryableError(str(error), delay=30) from error
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, expected) as writer:
            writer.write_table(projected)
        settings = {"async_insert": "0", "insert_deduplicate": "1", "insert_deduplication_token": token}
        try:
            stream = sink.getvalue().to_pybytes()
            self._client.insert_arrow(table, expected.names, stream, settings, rows=projected.num_rows)
        except RetryableError:
            # Whatever happened to the server, the next attempt makes sure that the schema is there.
            self._is_migrated = False
            raise

    def ping(self) -> None:
        """RetryableError if ClickHouse does not answer a query."""
        self._client.query("SELECT 1")

    def count_stored(self, wanted: Iterable[Identity]) -> Counter[Identity]:
        """How often each of these spans is in `spans`; RetryableError if ClickHouse does not answer."""
        return count_stored(self._client, self._settings.database, wanted)

    def migrate(self) -> None:
        """Create or update the tables and views."""
        client = _client(self._settings, self._owner)
        try:
            migrate(client, self._settings.database, durable=self._settings.is_embedded)
        finally:
            client.close()
        self._is_migrated = True

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()


def _client(settings: ClickHouseSettings, login: Login) -> Client:
    return Client(
        Connection(
            urlsplit(settings.url),
            settings.database,
            login.username,
            login.password.reveal(),
            settings.timeout.total_seconds(),
        )
    )


def _months(times: pa.ChunkedArray) -> Int64Column:
    return np.asarray(times.to_numpy().astype("datetime64[M]"), np.int64)
