"""The embedded ClickHouse through clickhouse-connect with its default settings, as the exporter and analysts use it."""

import io
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from decimal import Decimal

import clickhouse_connect
import pyarrow as pa
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

NUMBERS = pa.table({"a": pa.array([1, 2], pa.uint64()), "s": pa.array(["x", "y"])})


def stream_of(table: pa.Table) -> bytes:
    """A table in the format ArrowStream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.fixture
def client(clickhouse_url: str, clickhouse_database: str) -> Iterator[Client]:
    """A client of the test's database."""
    address = urllib.parse.urlsplit(clickhouse_url)
    made = clickhouse_connect.get_client(host=address.hostname, port=address.port, database=clickhouse_database)
    yield made
    made.close()


@pytest.fixture
async def async_client(clickhouse_url: str, clickhouse_database: str) -> AsyncIterator[AsyncClient]:
    """Its asynchronous twin."""
    address = urllib.parse.urlsplit(clickhouse_url)
    made = await clickhouse_connect.get_async_client(
        host=address.hostname, port=address.port, database=clickhouse_database
    )
    yield made
    await made.close()


@pytest.fixture
def table(client: Client) -> str:
    """A table that remembers the tokens of its inserts."""
    client.command(
        "CREATE TABLE t (a UInt64, s LowCardinality(String)) ENGINE = MergeTree ORDER BY a "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    return "t"


def test_values_of_many_types_come_back_as_they_went(client: Client) -> None:
    """Native inserts and queries carry the types that the schema uses."""
    types = {
        "n": "UInt64",
        "s": "LowCardinality(String)",
        "o": "LowCardinality(Nullable(String))",
        "d": "Nullable(Decimal(18, 12))",
        "t": "DateTime64(9, 'UTC')",
        "f": "FixedString(16)",
        "m": "Map(LowCardinality(String), String)",
        "l": "Array(Nullable(Float64))",
        "b": "Bool",
    }
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    client.command(f"CREATE TABLE kinds ({columns}) ENGINE = MergeTree ORDER BY n")
    when = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    rows = [
        [1, "x", None, Decimal("0.000000000001"), when, b"a" * 16, {"k": "v"}, [1.5, None], True],
        [2, "é", "y", None, when, b"\xff" * 16, {}, [], False],
    ]
    assert client.insert("kinds", rows).written_rows == 2
    result = client.query("SELECT * FROM kinds ORDER BY n", query_formats={"FixedString": "bytes"}, tz_mode="aware")
    assert [list(row) for row in result.result_rows] == rows
    assert result.summary["read_rows"] == "2"


@pytest.mark.parametrize("compress", [True, False, "gzip", "zstd", "lz4"])
def test_every_compression_of_the_client_works(
    clickhouse_url: str, clickhouse_database: str, table: str, compress: bool | str
) -> None:
    """Inserts and queries work with each compression the client offers."""
    address = urllib.parse.urlsplit(clickhouse_url)
    with clickhouse_connect.get_client(
        host=address.hostname, port=address.port, database=clickhouse_database, compress=compress
    ) as client:
        client.insert(table, [[number, "x" * 50] for number in range(1000)], column_names=["a", "s"])
        assert client.query(f"SELECT sum(a), any(s) FROM {table}").result_rows == [(499500, "x" * 50)]


def test_parameters_and_settings(client: Client) -> None:
    """Bound parameters, short and long, and settings arrive."""
    bound = client.query(
        "SELECT {s:String}, {n:UInt64}, {l:Array(String)}, {t:DateTime64(3)}",
        parameters={"s": "it's\n\\ \t", "n": 2**63, "l": ["a'", "b"], "t": datetime(2026, 1, 2, tzinfo=UTC)},
        settings={"session_timezone": "UTC"},
    )
    assert bound.first_row[:3] == ("it's\n\\ \t", 2**63, ["a'", "b"])
    assert client.command("SELECT length({s:String})", parameters={"s": "x" * 5000}) == 5000
    assert client.query("SELECT length({s:String})", parameters={"s": "x" * 50_000}).first_row == (50_000,)
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 3}) == 3


def test_commands_and_raw_queries(client: Client, table: str) -> None:
    """Commands without a result, with one, and raw results in any format."""
    assert client.ping()
    assert client.command(f"SELECT count() FROM {table}") == 0
    assert client.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'
    assert b"".join(client.raw_stream("SELECT number FROM numbers(3)", fmt="CSV")) == b"0\n1\n2\n"
    assert client.query(f"DESCRIBE TABLE {table}").row_count == 2
    assert client.query(f"SELECT * FROM {table} LIMIT 0").column_names == ("a", "s")
    assert client.query(f"SELECT * FROM {table}").result_rows == []


def test_arrow_both_ways(client: Client, table: str) -> None:
    """Arrow tables are inserted and read."""
    assert client.insert_arrow(table, NUMBERS).written_rows == 2
    read = client.query_arrow(f"SELECT * FROM {table} ORDER BY a", use_strings=True)
    assert read.to_pydict() == {"a": [1, 2], "s": ["x", "y"]}


def test_an_insert_with_a_known_token_is_stored_once(client: Client, table: str) -> None:
    """The exporter's insert, sent again with its deduplication token, stores nothing more."""
    for token in ("one", "one", "two"):
        client.raw_insert(
            table,
            column_names=["a", "s"],
            insert_block=stream_of(NUMBERS),
            fmt="ArrowStream",
            settings={"insert_deduplication_token": token, "async_insert": 0},
        )
    assert client.query(f"SELECT a, count() FROM {table} GROUP BY a ORDER BY a").result_rows == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    "fmt", ["Parquet", "Arrow", "ArrowStream", "ORC", "Avro", "Native", "RowBinary", "JSONEachRow"]
)
def test_what_is_read_in_a_format_can_be_inserted_in_it(client: Client, table: str, fmt: str) -> None:
    """Text and binary formats go in as they came out."""
    sql = "SELECT number AS a, toString(number) AS s FROM numbers(1000)"
    client.raw_insert(table, column_names=["a", "s"], insert_block=client.raw_query(sql, fmt=fmt), fmt=fmt)
    assert client.query(f"SELECT count(), sum(a), sum(length(s)) FROM {table}").first_row == (1000, 499500, 2890)


def test_blocks_of_a_large_result(client: Client) -> None:
    """A result larger than memory should hold is read block by block."""
    with client.query_row_block_stream("SELECT number FROM numbers(500000)") as blocks:
        counts = [len(block) for block in blocks]
    assert (sum(counts), len(counts) > 1) == (500_000, True)


def test_errors_have_code_and_name(client: Client, table: str) -> None:
    """Errors of queries and inserts carry ClickHouse's code, also the ones amid a result."""
    with pytest.raises(DatabaseError) as unknown:
        client.query("SELECT * FROM nothing")
    assert (unknown.value.code, unknown.value.name) == (60, "UNKNOWN_TABLE")
    with pytest.raises(DatabaseError) as broken:
        client.raw_insert(table, insert_block=b"broken", fmt="ArrowStream")
    assert (broken.value.code, broken.value.name) == (117, "INCORRECT_DATA")
    sql = "SELECT number, throwIf(number = 450000) FROM numbers(500000) SETTINGS max_threads = 1"
    with client.query_row_block_stream(sql) as blocks, pytest.raises(Exception, match="FUNCTION_THROW_IF"):
        list(blocks)


async def test_the_asynchronous_client(async_client: AsyncClient, table: str) -> None:
    """The asynchronous client inserts, queries and gets errors as the other."""
    await async_client.insert(table, [[1, "z"], [2, "z"]], column_names=["a", "s"])
    await async_client.raw_insert(table, insert_block=stream_of(NUMBERS), fmt="ArrowStream")
    result = await async_client.query(f"SELECT a, count() FROM {table} GROUP BY a ORDER BY a")
    assert result.result_rows == [(1, 2), (2, 2)]
    assert await async_client.command("SELECT {n:UInt8} + 1", parameters={"n": 4}) == 5
    with pytest.raises(DatabaseError) as unknown:
        await async_client.query("SELECT * FROM nothing")
    assert unknown.value.code == 60
