"""What clients get over the port is what the engine itself gives: byte for byte, or value for value."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
import pytest

from exporters.clickhouse.embedded.sql import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clickhouse_connect.driver.client import Client

    from tests.exporters.clickhouse.embedded.server import Server

SQL = """
SELECT
    number AS n,
    toString(number) AS s,
    number % 2 ? NULL : number AS maybe,
    toDecimal64(number / 8, 12) AS money,
    toDateTime64('2026-11-25 10:00:00.123456789', 9, 'UTC') + number AS time,
    [number, number + 1] AS list,
    map('key', toString(number)) AS pairs,
    (number, 'x') AS pair,
    toLowCardinality(toString(number % 3)) AS low,
    number / 3 AS float,
    toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS uuid,
    number = 3 AS is_three
FROM numbers(200)
ORDER BY n
""".strip()
FORMATS = (
    *("TabSeparated", "TabSeparatedWithNamesAndTypes", "CSV", "CSVWithNames", "JSONEachRow", "JSONCompact", "Native"),
    *("RowBinary", "RowBinaryWithNamesAndTypes", "ArrowStream", "Pretty", "Markdown", "Values", "XML", "SQLInsert"),
)
DIRECTLY = """
import os, sys
import chdb
connection = chdb.connect(sys.argv[1])
connection.query("SET implicit_select = 0, output_format_write_statistics = 0")
os.write(1, connection.query(sys.argv[2], sys.argv[3]).bytes())
"""
JAVASCRIPT = Path(sys.prefix) / "javascript"


@pytest.fixture(scope="module")
def directly(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], bytes]:
    """Runs a query in an engine of its own, with nothing of ours around it."""
    directory = tmp_path_factory.mktemp("engine")

    def run(sql: str, output_format: str) -> bytes:
        ran = subprocess.run(
            [sys.executable, "-c", DIRECTLY, str(directory), sql, output_format], capture_output=True, check=True
        )
        return ran.stdout

    return run


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """clickhouse-connect, as an analyst has it."""
    address = urlsplit(server.url)
    made = clickhouse_connect.get_client(host=address.hostname, port=address.port, username="ann", password="ann's")
    yield made
    made.close()


@pytest.mark.parametrize("output_format", FORMATS)
def test_every_format_is_the_engines(server: Server, directly: Callable[[str, str], bytes], output_format: str) -> None:
    """A result is the same bytes in every format, whether the format stands in the query, the URL or the header."""
    expected = directly(SQL, output_format)
    settings = {"output_format_write_statistics": "0"}
    assert server.ask(f"{SQL} FORMAT {output_format}", "ann", **settings).body == expected
    assert server.ask(SQL, "ann", default_format=output_format, **settings).body == expected
    header = {"X-ClickHouse-Format": output_format}
    assert server.ask(SQL, headers=header, **settings, wait_end_of_query="1").body == expected


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_what_the_engine_gives(server: Server, directly: Callable[[str, str], bytes]) -> None:
    """Curl with a password and compression gets the engine's bytes."""
    got = subprocess.run(
        ["curl", "-sS", "--compressed", "--user", "ann:ann's", server.url, "--data-binary", f"{SQL} FORMAT CSV"],
        capture_output=True,
        check=True,
    )
    assert got.stdout == directly(SQL, "CSV")


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_clickhouse_connect_gets_what_the_engine_gives(
    server: Server, directly: Callable[[str, str], bytes], compress: bool | str
) -> None:
    """Rows, raw bytes, Arrow and pandas are the engine's, with every compression."""
    address = urlsplit(server.url)
    client = clickhouse_connect.get_client(
        host=address.hostname, port=address.port, username="ann", password="ann's", compress=compress
    )
    expected = pa.ipc.open_stream(io.BytesIO(directly(SQL, "ArrowStream"))).read_all()
    try:
        assert client.raw_query(SQL, fmt="JSONEachRow") == directly(SQL, "JSONEachRow")
        arrow = client.query_arrow(SQL)
        assert arrow.drop_columns("low").equals(expected.drop_columns("low"))
        with client.query_arrow_stream(SQL) as stream:
            assert sum(batch.num_rows for batch in stream) == expected.num_rows
        rows = client.query(SQL).result_rows
        values = expected.select(["n", "s", "maybe", "money", "float"]).to_pylist()
        assert [dict(zip(values[0], (row[0], row[1], row[2], row[3], row[9]), strict=True)) for row in rows] == values
        frame = client.query_df(SQL)
        assert list(frame["s"]) == expected["s"].to_pylist()
        assert list(frame["list"].map(list)) == expected["list"].to_pylist()
        with client.query_rows_stream(SQL) as stream:
            assert sum(1 for _ in stream) == expected.num_rows
    finally:
        client.close()


async def test_the_asynchronous_client_gets_what_the_engine_gives(
    server: Server, directly: Callable[[str, str], bytes]
) -> None:
    """clickhouse-connect's asynchronous client gets the engine's rows and bytes, also in a stream."""
    address = urlsplit(server.url)
    client = await clickhouse_connect.get_async_client(
        host=address.hostname, port=address.port, username="ann", password="ann's"
    )
    try:
        assert await client.raw_query(SQL, fmt="CSV") == directly(SQL, "CSV")
        assert (await client.query_arrow(SQL)).num_rows == 200
        stream = await client.query_rows_stream(SQL)
        async with stream:
            assert len([row async for row in stream]) == 200
    finally:
        await client.close()


def test_errors_are_the_engines(server: Server, client: Client) -> None:
    """An error has the engine's words, its code and the version of its server."""
    answer = server.ask("SELECT no_such_column FROM shop.t", "ann")
    assert answer.text.startswith("Code: 47. DB::Exception: Unknown expression identifier `no_such_column`")
    assert answer.text.rstrip().endswith(f"(UNKNOWN_IDENTIFIER) (version {client.server_version})")


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed, so its client cannot be tried")
def test_the_javascript_client_gets_what_the_engine_gives(
    server: Server, directly: Callable[[str, str], bytes]
) -> None:
    """ClickHouse's client for Node.js pings, queries, streams, inserts, compresses, fails and aborts."""
    if not (JAVASCRIPT / "node_modules").is_dir():
        pytest.skip("the client is not installed: `make test` installs it")
    script = Path(__file__).with_name("javascript_client.mjs")
    ran = subprocess.run(
        ["node", str(script), str(JAVASCRIPT), server.url, "admin", "admin's", SQL],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    expected = [json.loads(line) for line in directly(SQL, "JSONEachRow").splitlines()]
    whole = json.loads(directly(SQL, "JSON"))
    assert results["json"]["data"] == whole["data"]
    assert results["json"]["meta"] == whole["meta"]
    assert results["json_each_row"] == results["compressed"] == expected
    assert results["json_compact"]["data"] == json.loads(directly(SQL, "JSONCompact"))["data"]
    assert results["csv"] == directly(SQL, "CSVWithNames").decode()
    assert (results["ping"], results["ping_select"], results["aborted"]) == (True, True, True)
    assert results["parameters"] == [{"a": 7, "b": ["it's", "\ttab"], "c": None}]
    assert [int(row["threads"]) for row in results["settings"]] == [3]
    assert results["written"] == "2"
    assert [(int(row["a"]), row["s"]) for row in results["inserted"]] == [(1, "x"), (2, "y"), (3, "z")]
    assert results["streamed"] == 200_000
    assert results["session"] == [{"a": 5}]
    assert results["error"] == ["60", "UNKNOWN_TABLE"]


def test_inserts_through_every_client_arrive_the_same(server: Server) -> None:
    """Rows inserted natively, as Arrow, as pandas and in a text format are read back equal."""
    address = urlsplit(server.url)
    client = clickhouse_connect.get_client(
        host=address.hostname, port=address.port, username="admin", password="admin's", database="shop"
    )
    try:
        client.command("CREATE OR REPLACE TABLE inserted (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
        table = pa.table({"a": pa.array([3, 4], pa.uint64()), "s": ["three", "four"]})
        client.insert("inserted", [[1, "one"], [2, "two"]], column_names=["a", "s"])
        client.insert_arrow("inserted", table)
        client.insert_df("inserted", pa.table({"a": pa.array([5], pa.uint64()), "s": ["five"]}).to_pandas())
        client.raw_insert("inserted", insert_block='{"a": 6, "s": "six"}', fmt="JSONEachRow")
        names = ["one", "two", "three", "four", "five", "six"]
        assert client.query("SELECT * FROM inserted ORDER BY a").result_rows == list(enumerate(names, 1))
        where = f"WHERE s IN ({', '.join(quoted(name) for name in names)})"
        assert client.query(f"SELECT count() FROM inserted {where}").first_row == (6,)
    finally:
        client.close()
