"""The exporter against the real engine: rows go where they belong, once, and failures say whether to try again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from exporters.clickhouse.exporter import ClickHouseExporter
from exporters.clickhouse.rows import CALLS, SPANS, layout
from exporters.clickhouse.settings import ClickHouseSettings
from gateway.sample import sample_delivery
from otlp.batch import Request
from otlp.errors import PermanentError, RetryableError
from tests.exporters.clickhouse.stores import packed, store, table_of
from tests.processors.chain import GENERATION, SECOND, START, chat, sample, sdk

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client as Driver

VIEWS = ("spans", "llm_calls", "otel_traces", "OPENROUTER_TRACES")


def _count(reader: Driver, table: str) -> int:
    count: int = reader.query(f"SELECT count() FROM {table}").result_rows[0][0]
    return count


def _counts(reader: Driver) -> list[int]:
    return [_count(reader, view) for view in VIEWS]


def test_rows_are_placed_by_table_and_month(exporter: ClickHouseExporter) -> None:
    """Every row goes to the spans by its own month, calls also to the calls by theirs, in the order of inserting."""
    july = 1_783_000_000
    deliveries = [sample(), sdk(chat(), startTimeUnixNano=july * SECOND), sdk({})]
    place = exporter.place(table_of(exporter, *deliveries))
    assert list(place) == [SPANS, CALLS]
    november, seventh = (2026 - 1970) * 12 + 10, (2026 - 1970) * 12 + 6
    rows, months = place[SPANS]
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert months.tolist() == [november, november, november, seventh, november]
    rows, months = place[CALLS]
    assert rows.tolist() == [0, 3]
    assert months.tolist() == [november, seventh]


def test_a_batch_without_calls_places_none(exporter: ClickHouseExporter) -> None:
    """Rows of which none is a call go to the spans alone."""
    place = exporter.place(table_of(exporter, sdk({}), sdk({})))
    assert [len(rows) for rows, _ in place.values()] == [2, 0]


def test_encoded_rows_have_the_schema_that_is_promised(exporter: ClickHouseExporter) -> None:
    """The schema that the spool is told is the one that rows come in."""
    assert packed(exporter, sample()).schema == exporter.schema == layout().packed
    assert table_of(exporter, sample()).schema == layout().wide


def test_an_insert_makes_the_schema_first(exporter: ClickHouseExporter, reader: Driver) -> None:
    """The first insert into an empty database makes the tables, and the rows are in every view at once."""
    store(exporter, table_of(exporter, sample()), "1")
    assert _counts(reader) == [3, 1, 3, 3]


def test_the_same_token_is_ignored(exporter: ClickHouseExporter, reader: Driver) -> None:
    """A unit that is sent again under its token is not stored again, not even in the table below the views."""
    rows = table_of(exporter, sample())
    for _ in range(3):
        store(exporter, rows, "1")
    assert [_count(reader, SPANS), _count(reader, CALLS)] == [3, 1]


def test_tokens_of_tables_are_apart(exporter: ClickHouseExporter, reader: Driver) -> None:
    """The same token may be used for both tables, and for other rows another one is needed."""
    store(exporter, table_of(exporter, sample()), "1")
    other = sample_delivery("gen-1795304499-other", START + 89 * SECOND)
    store(exporter, table_of(exporter, other), "2")
    assert _counts(reader) == [6, 2, 6, 6]


def test_the_same_rows_count_once_under_any_token(exporter: ClickHouseExporter, reader: Driver) -> None:
    """Rows that arrive again under other tokens, in other batches and at other times, count once everywhere."""
    for token in range(3):
        request = Request("default", START + token)
        store(exporter, table_of(exporter, sample(), requests=[request]), str(token))
    store(exporter, table_of(exporter, sdk({}), sample(), sample()), "together")
    assert _count(reader, SPANS) > 4
    assert _counts(reader) == [4, 1, 4, 3]
    assert str(reader.query("SELECT sum(CostUsd) FROM llm_calls").result_rows[0][0]) == "0.012460000000"


def test_copies_of_a_generation_count_once(exporter: ClickHouseExporter, reader: Driver) -> None:
    """Of the copies that an SDK and Broadcast send of one call, Broadcast's stands, whichever comes last."""
    copy = sdk(chat(gen_ai__response__id=GENERATION), startTimeUnixNano=START - SECOND)
    late = Request("default", START + 10**15)
    for token, (delivery, request) in enumerate([(copy, late), (sample(), Request("default", 1)), (copy, late)]):
        store(exporter, table_of(exporter, delivery, requests=[request]), str(token))
    found = reader.query("SELECT CallId, Source, toString(CostUsd) FROM llm_calls").result_rows
    assert found == [(GENERATION, "broadcast", "0.01246")]
    assert _count(reader, "spans") == 4


def test_destinations_are_apart(exporter: ClickHouseExporter, reader: Driver) -> None:
    """The same generation sent to two destinations is one call in each."""
    requests = [Request("open", 1), Request("private", 2)]
    store(exporter, table_of(exporter, sample(), sample(), requests=requests), "1")
    found = reader.query("SELECT Destination, count() FROM llm_calls GROUP BY 1 ORDER BY 1").result_rows
    assert found == [("open", 1), ("private", 1)]


def test_a_wrong_schema_is_refused_for_good(exporter: ClickHouseExporter, reader: Driver) -> None:
    """Rows whose types are not exactly the table's are a permanent error: ClickHouse would convert them silently."""
    rows = table_of(exporter, sample())
    place = rows.schema.get_field_index("Flags")
    wrong = rows.set_column(place, pa.field("Flags", pa.uint64(), nullable=False), rows["Flags"].cast(pa.uint64()))
    with pytest.raises(PermanentError) as caught:
        exporter.insert(SPANS, wrong, "1")
    assert caught.value.reason == "schema_mismatch"
    exporter.insert(SPANS, rows, "1")
    assert _count(reader, SPANS) == 3


def test_a_table_that_refuses_the_data_is_a_permanent_error(exporter: ClickHouseExporter, reader: Driver) -> None:
    """Data that a constraint or a column of another type refuses is a permanent error, and nothing of it is stored."""
    exporter.migrate()
    reader.command(f"ALTER TABLE {SPANS} ADD CONSTRAINT named CHECK SpanName != ''")
    with pytest.raises(PermanentError) as caught:
        exporter.insert(SPANS, table_of(exporter, sample(), sdk({})), "1")
    assert caught.value.reason.startswith("clickhouse_")
    assert _count(reader, SPANS) == 0


def test_an_insert_that_is_not_stored_raises(exporter: ClickHouseExporter, reader: Driver) -> None:
    """Rows that ClickHouse does not store for reasons of its own, here too many parts at once, are an error."""
    month = 31 * 86_400 * SECOND
    deliveries = [sdk({}, startTimeUnixNano=START - n * month) for n in range(110)]
    with pytest.raises((RetryableError, PermanentError)):
        exporter.insert(SPANS, table_of(exporter, *deliveries), "1")
    assert _count(reader, SPANS) == 0


def test_an_unreachable_server_is_a_retryable_error(free_port: Callable[[], int]) -> None:
    """Where nothing listens, the insert may be tried again."""
    exporter = ClickHouseExporter(ClickHouseSettings(endpoint=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(RetryableError):
        exporter.insert(SPANS, table_of(exporter, sample()), "1")


def test_a_dropped_table_is_a_retryable_error(
    exporter: ClickHouseExporter, reader: Driver, clickhouse_database: str
) -> None:
    """A table that vanished under the exporter is no fault of the data, so the unit is kept and tried again."""
    rows = table_of(exporter, sample())
    store(exporter, rows, "1")
    reader.command(f"DROP TABLE {clickhouse_database}.{SPANS} SYNC")
    with pytest.raises(RetryableError):
        exporter.insert(SPANS, rows, "2")


def test_rows_survive_the_spool(exporter: ClickHouseExporter, reader: Driver) -> None:
    """Rows that were written to bytes and read back, in several chunks, are stored like those that were not."""
    batches = [packed(exporter, sample()), packed(exporter, sdk(chat()), sdk({}, spanId="ff" * 8))]
    read = [pa.ipc.read_record_batch(pa.py_buffer(batch.serialize()), exporter.schema) for batch in batches]
    rows = exporter.unpack(pa.Table.from_batches(read)).take(pa.array(np.array([4, 3, 2, 1, 0])))
    store(exporter, rows, "1")
    assert _counts(reader) == [5, 2, 5, 3]
