"""The client against the real engine: what it answers, and which failures are worth another attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from exporters.clickhouse.client import Client, Connection, quote
from otlp.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _client(url: str, database: str = "default") -> Client:
    return Client(Connection(urlsplit(url), database, "default", "", 10.0))


def _failing(code: int) -> str:
    """A query that fails with this code of ClickHouse's."""
    return f"SELECT throwIf(1, 'on purpose', toInt16({code})) SETTINGS allow_custom_error_code_in_throwif = 1"


@pytest.fixture
def client(clickhouse_url: str, clickhouse_database: str) -> Iterator[Client]:
    """A client of an empty database."""
    made = _client(clickhouse_url, clickhouse_database)
    yield made
    made.close()


def test_a_query_gives_rows_by_column(client: Client) -> None:
    """A query's rows are by column name, with parameters bound by the server."""
    assert client.query("SELECT {n:UInt32} AS n, {text:String} AS t", {"n": 7, "text": "it's"}) == [
        {"n": 7, "t": "it's"}
    ]
    assert client.query("SELECT 1 AS one WHERE 0") == []


def test_a_command_runs_in_the_database_given(client: Client, clickhouse_database: str) -> None:
    """A statement runs in the database that it is given."""
    client.command("CREATE TABLE t (n UInt8) ENGINE = Memory", database=clickhouse_database)
    count = "SELECT count() AS tables FROM system.tables WHERE database = {database:String} AND name = 't'"
    assert client.query(count, {"database": clickhouse_database}) == [{"tables": 1}]


def test_an_unreachable_server_is_worth_another_attempt(free_port: Callable[[], int]) -> None:
    """Where nothing listens, the error is retryable and says so in one line."""
    client = _client(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RetryableError, match=r"ClickHouse") as caught:
        client.query("SELECT 1")
    assert "\n" not in str(caught.value)
    assert caught.value.delay > 0


@pytest.mark.parametrize(
    "code",
    [
        81,  # UNKNOWN_DATABASE
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        241,  # MEMORY_LIMIT_EXCEEDED
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        497,  # ACCESS_DENIED
        516,  # AUTHENTICATION_FAILED
    ],
)
def test_the_servers_own_troubles_are_worth_another_attempt(client: Client, code: int) -> None:
    """Where the server, its user or its schema is at fault and not the data, the error is retryable."""
    with pytest.raises(RetryableError, match=rf"Code: {code}\."):
        client.query(_failing(code))


@pytest.mark.parametrize(
    "code",
    [
        53,  # TYPE_MISMATCH
        70,  # CANNOT_CONVERT_TYPE
        117,  # INCORRECT_DATA
        469,  # VIOLATED_CONSTRAINT
    ],
)
def test_faults_of_the_data_are_permanent(client: Client, code: int) -> None:
    """Where the data is at fault, the error is permanent and its reason names ClickHouse's code."""
    with pytest.raises(PermanentError) as caught:
        client.query(_failing(code))
    assert caught.value.reason == f"clickhouse_{code}"


def test_a_missing_database_is_worth_another_attempt(client: Client) -> None:
    """A database or table that is not there may come to be, so the error is retryable."""
    with pytest.raises(RetryableError):
        client.command("SELECT 1", database="no_such_database")
    with pytest.raises(RetryableError):
        client.query("SELECT * FROM no_such_table")


@pytest.mark.parametrize("sql", ["SELECT toUInt8('text')", "SELECT [1, 2] + 'text'"])
def test_data_of_the_wrong_type_is_refused_for_good(client: Client, sql: str) -> None:
    """Data that ClickHouse cannot take however often it is sent is a permanent error, with the code as its reason."""
    with pytest.raises(PermanentError, match=r"^ClickHouse refuses the data: ") as caught:
        client.query(sql)
    assert caught.value.reason.removeprefix("clickhouse_").isdigit()


def test_an_insert_of_the_wrong_type_is_refused_for_good(client: Client, clickhouse_database: str) -> None:
    """An insert that is no Arrow stream is a permanent error."""
    client.command("CREATE TABLE t (n UInt8) ENGINE = Memory", database=clickhouse_database)
    with pytest.raises(PermanentError):
        client.insert_arrow("t", ["n"], b"this is no Arrow stream", {})


def test_the_client_works_again_after_a_failure(client: Client) -> None:
    """A failure costs the connection and nothing else: the next statement connects anew."""
    with pytest.raises(RetryableError):
        client.query("SELECT * FROM no_such_table")
    client.close()
    client.close()
    assert client.query("SELECT 1 AS one") == [{"one": 1}]


@pytest.mark.parametrize("name", ["plain", "with space", "back`tick", "back\\slash", "ключ", "a`; DROP DATABASE x; --"])
def test_quoted_names_are_names(client: Client, name: str) -> None:
    """Any text is quoted into the identifier that it is."""
    assert client.query(f"SELECT 1 AS {quote(name)}") == [{name: 1}]
