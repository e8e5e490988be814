"""The client against the real engine: what it answers, and which failures are worth another attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from exporters.clickhouse.client import REFUSES_THE_DATA, Client, Connection, quote
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


@pytest.mark.parametrize(
    "code",
    [
        3,  # UNEXPECTED_END_OF_FILE
        16,  # NO_SUCH_COLUMN_IN_TABLE
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        43,  # ILLEGAL_TYPE_OF_ARGUMENT
        48,  # NOT_IMPLEMENTED
        49,  # LOGICAL_ERROR
        53,  # TYPE_MISMATCH
        60,  # UNKNOWN_TABLE
        62,  # SYNTAX_ERROR
        81,  # UNKNOWN_DATABASE
        115,  # UNKNOWN_SETTING
        158,  # TOO_MANY_ROWS
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        164,  # READONLY
        173,  # CANNOT_ALLOCATE_MEMORY
        192,  # UNKNOWN_USER
        198,  # DNS_ERROR
        201,  # QUOTA_EXCEEDED
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        216,  # QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING
        218,  # TABLE_IS_DROPPED
        225,  # NO_ZOOKEEPER
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        246,  # CORRUPTED_DATA
        252,  # TOO_MANY_PARTS
        254,  # NO_ACTIVE_REPLICAS
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        289,  # REPLICA_IS_NOT_IN_QUORUM
        319,  # UNKNOWN_STATUS_OF_INSERT
        359,  # TABLE_SIZE_EXCEEDS_MAX_DROP_SIZE_LIMIT
        394,  # QUERY_WAS_CANCELLED
        396,  # TOO_MANY_ROWS_OR_BYTES
        439,  # CANNOT_SCHEDULE_TASK
        452,  # SETTING_CONSTRAINT_VIOLATION
        497,  # ACCESS_DENIED
        499,  # S3_ERROR
        516,  # AUTHENTICATION_FAILED
        636,  # CANNOT_EXTRACT_TABLE_STRUCTURE
        692,  # TOO_MANY_MUTATIONS
        745,  # SERVER_OVERLOADED
        774,  # TABLE_IS_PERMANENTLY_READ_ONLY
        999,  # KEEPER_EXCEPTION
        1001,  # STD_EXCEPTION
        1002,  # UNKNOWN_EXCEPTION
        9999,  # one that does not exist yet
    ],
)
def test_what_is_not_known_to_be_the_datas_fault_is_worth_another_attempt(client: Client, code: int) -> None:
    """Where the server, the way to it, its user or its schema is at fault, or nobody knows, the error is retryable."""
    with pytest.raises(RetryableError, match=rf"^ClickHouse: .*Code: {code}\."):
        client.query(_failing(code))


@pytest.mark.parametrize("code", sorted(REFUSES_THE_DATA))
def test_faults_of_the_data_are_permanent(client: Client, code: int) -> None:
    """Where the data is at fault, the error is permanent and its reason names ClickHouse's code."""
    with pytest.raises(PermanentError, match=r"^ClickHouse refuses the data: ") as caught:
        client.query(_failing(code))
    assert caught.value.reason == f"clickhouse_{code}"


def test_a_missing_database_is_worth_another_attempt(client: Client) -> None:
    """A database or table that is not there may come to be, so the error is retryable."""
    with pytest.raises(RetryableError):
        client.command("SELECT 1", database="no_such_database")
    with pytest.raises(RetryableError):
        client.query("SELECT * FROM no_such_table")


@pytest.mark.parametrize("sql", ["SELECT toUInt8('text')", "SELECT toDateTime('today')"])
def test_data_of_the_wrong_type_is_refused_for_good(client: Client, sql: str) -> None:
    """Data that ClickHouse cannot take however often it is sent is a permanent error, with the code as its reason."""
    with pytest.raises(PermanentError, match=r"^ClickHouse refuses the data: ") as caught:
        client.query(sql)
    assert caught.value.reason.removeprefix("clickhouse_").isdigit()


def test_an_insert_of_the_wrong_type_is_refused_for_good(client: Client, clickhouse_database: str) -> None:
    """An insert that is no Arrow stream is a permanent error."""
    client.command("CREATE TABLE t (n UInt8) ENGINE = Memory", database=clickhouse_database)
    with pytest.raises(PermanentError):
        client.insert_arrow("t", ["n"], b"this is no Arrow stream", {}, rows=1)


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
