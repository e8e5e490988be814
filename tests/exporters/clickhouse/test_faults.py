"""Faults between the exporter and the real engine: each is seen, may be tried again, and costs or doubles no row."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from clickhouse_connect.driver.httputil import all_managers

from exporters.clickhouse.client import Client, Connection
from exporters.clickhouse.exporter import ClickHouseExporter
from exporters.clickhouse.rows import SPANS
from exporters.clickhouse.settings import ClickHouseSettings
from otlp.errors import PermanentError, RetryableError
from tests.exporters.clickhouse.stores import table_of
from tests.faults.proxy import Fault, FaultProxy
from tests.processors.chain import sample, sdk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client as Driver

INSERT = b"INSERT INTO `"
TIMEOUT = 0.5
ROWS = 3
SUMMARY = b'X-ClickHouse-Summary: {"read_rows":"0","written_rows":"%d"}\r\n'


@pytest.fixture
def proxy(clickhouse_url: str) -> Iterator[FaultProxy]:
    """A proxy in front of the engine."""
    place = urlsplit(clickhouse_url)
    with FaultProxy(place.hostname or "", place.port or 0) as made:
        yield made


@pytest.fixture
def reader(module_reader: Driver) -> Driver:
    """A ClickHouse client for the database of all these tests, in which the tables are empty."""
    module_reader.command(f"TRUNCATE TABLE {SPANS}")
    return module_reader


@pytest.fixture
def exporter(proxy: FaultProxy, reader: Driver, token: str) -> Iterator[ClickHouseExporter]:
    """An exporter that reaches its database through the proxy, with one insert behind it."""
    settings = ClickHouseSettings(
        endpoint=proxy.url, database=reader.database or "", timeout=timedelta(seconds=TIMEOUT)
    )
    made = ClickHouseExporter(settings)
    made._is_migrated = True
    made.insert(SPANS, table_of(made, sdk({})), f"first of {token}")
    yield made
    made.close()


@pytest.fixture
def token() -> str:
    """A deduplication token that no other test has."""
    return uuid.uuid4().hex


def stored(reader: Driver) -> int:
    """How many rows there are in the table below the views, where doubles would show; without the first insert's."""
    rows: int = reader.query(f"SELECT count() FROM {SPANS}").result_rows[0][0]
    return rows - 1


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    """The head of an answer."""
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""])


def failed(code: int, text: bytes, status: bytes = b"500 Internal Server Error") -> bytes:
    """An answer of ClickHouse's that tells of an error."""
    body = b"Code: %d. DB::Exception: %s (version 25.8.2.29 (official build))\n" % (code, text)
    return (
        head(
            b"Connection: Close",
            b"Content-Type: text/plain; charset=UTF-8",
            b"X-ClickHouse-Exception-Code: %d" % code,
            b"Content-Length: %d" % len(body),
            status=status,
        )
        + body
    )


@pytest.mark.parametrize(
    ("fault", "options", "is_stored"),
    [
        (Fault.CUT_REQUEST, {"after": 0}, False),
        (Fault.CUT_REQUEST, {"after": 5000}, False),
        (Fault.BLACKHOLE, {}, False),
        (Fault.WITHHOLD, {}, True),
        (Fault.DROP, {}, True),
        *((Fault.CUT_RESPONSE, {"after": after}, True) for after in (0, 10, 17, 100, -300, -2, -1)),
    ],
)
def test_an_insert_that_meets_a_fault_is_tried_again_and_stored_once(
    token: str,
    exporter: ClickHouseExporter,
    reader: Driver,
    proxy: FaultProxy,
    *,
    fault: Fault,
    options: dict[str, int],
    is_stored: bool,
) -> None:
    """Whether the server had stored the rows or not, the insert fails, succeeds later, and leaves one copy."""
    rows = table_of(exporter, sample())
    proxy.set(fault, only=INSERT, **options)
    with pytest.raises(RetryableError, match=r"^ClickHouse: it cannot be reached, or did not answer to the end \("):
        exporter.insert(SPANS, rows, token)
    assert proxy.counts[fault] >= 1
    assert (proxy.unheard > 0) == is_stored
    assert stored(reader) == (ROWS if is_stored else 0)
    proxy.clear()
    exporter.insert(SPANS, rows, token)
    assert stored(reader) == ROWS


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        (Fault.CLOSE_IDLE, {}),
        (Fault.DEAD_IDLE, {}),
        (Fault.RESET, {"times": 1}),
        (Fault.DROP, {"times": 1, "only": INSERT}),
        (Fault.DELAY, {"seconds": 0.1}),
    ],
)
def test_a_fault_that_is_over_at_once_is_not_even_seen(
    token: str,
    exporter: ClickHouseExporter,
    reader: Driver,
    proxy: FaultProxy,
    *,
    fault: Fault,
    options: dict[str, object],
) -> None:
    """A dead connection, or one that breaks once, is replaced under the same token: no error, and one copy."""
    proxy.set(fault, **options)  # type: ignore[arg-type]
    if fault is Fault.RESET:
        exporter._client._manager.clear()
    exporter.insert(SPANS, table_of(exporter, sample()), token)
    assert proxy.counts[fault] >= 1
    assert stored(reader) == ROWS


def test_an_insert_waits_no_longer_than_its_timeout(
    token: str, exporter: ClickHouseExporter, proxy: FaultProxy
) -> None:
    """A server that is silent is given up after `timeout`."""
    rows = table_of(exporter, sample())
    proxy.set(Fault.BLACKHOLE)
    began = time.monotonic()
    with pytest.raises(RetryableError, match=r"timed out"):
        exporter.insert(SPANS, rows, token)
    assert TIMEOUT <= time.monotonic() - began < 2 * TIMEOUT


@pytest.mark.slow
@pytest.mark.parametrize("only", [INSERT, b"SELECT"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(
    token: str, exporter: ClickHouseExporter, proxy: FaultProxy, only: bytes
) -> None:
    """No answer, not even to the questions of a new connection, may take longer than four times `timeout`."""
    rows = table_of(exporter, sample())
    if only == b"SELECT":
        exporter._client.close()
    proxy.set(Fault.TRICKLE, seconds=TIMEOUT / 10, only=only)
    began = time.monotonic()
    with pytest.raises(RetryableError, match=r"did not finish its answer within 2 s"):
        exporter.insert(SPANS, rows, token)
    assert 4 * TIMEOUT <= time.monotonic() - began < 6 * TIMEOUT


@pytest.mark.slow
def test_a_large_insert_on_a_slow_line_arrives(proxy: FaultProxy, reader: Driver) -> None:
    """A body may take longer to send than the timeout, as long as it moves."""
    reader.command("CREATE TABLE large (text String) ENGINE = MergeTree ORDER BY tuple()")
    client = Client(Connection(urlsplit(proxy.url), reader.database or "", "default", "", 1.0))
    rows = pa.table({"text": pa.array(["x" * 1_000_000] * 24)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    client.query("SELECT 1")
    proxy.set(Fault.THROTTLE, rate=10_000_000)
    began = time.monotonic()
    client.insert_arrow("large", ["text"], sink.getvalue().to_pybytes(), {}, rows=rows.num_rows)
    client.close()
    assert time.monotonic() - began > 2
    assert reader.query("SELECT count() FROM large").result_rows == [(24,)]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (failed(242, b"Table is in readonly mode: replica_path=/a. (TABLE_IS_READ_ONLY)"), "the table is read-only"),
        (failed(164, b"default: Cannot execute query in readonly mode. (READONLY)"), "the user may only read"),
        (failed(33, b"Cannot read all data. Bytes read: 12. Bytes expected: 160. (CANNOT_READ_ALL_DATA)"), "33"),
        (failed(252, b"Too many parts (300). (TOO_MANY_PARTS)", b"200 OK"), "too many parts"),
        (head(b"Content-Length: 0", status=b"500 Internal Server Error"), "HTTP status 500"),
        (head(b"Content-Length: 4", status=b"502 Bad Gateway") + b"<p/>", "HTTP status 502"),
        (head(b"Content-Length: 4", b"Retry-After: 9", status=b"503 Busy") + b"<p/>", "HTTP status 503"),
        (head(b"Content-Length: 4", status=b"404 Not Found") + b"<p/>", "HTTP status 404"),
        (head(b"Content-Length: 4", status=b"413 Too Large") + b"<p/>", "HTTP status 413"),
        (head(b"Content-Length: 0", b"Location: /ping", status=b"302 Found"), "HTTP status 302"),
        (head(b"Content-Length: 0", b"Location: /ping", status=b"303 See Other"), "HTTP status 303"),
        (head(b"Content-Length: 0"), "no count of rows"),
        (head(b"X-ClickHouse-Summary: 3", b"Content-Length: 0"), "makes no sense"),
        (head(b"X-ClickHouse-Summary: {}", b"Content-Length: 0"), "no count of rows"),
        (head(SUMMARY.strip() % 2, b"Content-Length: 0"), "counts 2 of 3 rows"),
        (head(SUMMARY.strip() % 3, b"Content-Length: 4") + b"<p/>", "its answer says <p/>"),
        (
            head(SUMMARY.strip() % 3, b"X-ClickHouse-Exception-Tag: abcdefghijklmnop", b"Transfer-Encoding: chunked")
            + b"29\r\n__exception__\r\nCode: 252. DB::Exception: \r\n0\r\n\r\n",
            "Code: 252",
        ),
        (head(SUMMARY.strip() % 3, b"Transfer-Encoding: chunked"), "did not answer to the end"),
        (head(SUMMARY.strip() % 3, b"Content-Length: 9") + b"<p/>", "did not answer to the end"),
        (head(SUMMARY.strip() % 3)[:-2], "did not answer to the end"),
        (b"HTTP/1.1 200 OK\r\n", "did not answer to the end"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "did not answer to the end"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "did not answer to the end"),
        (b"", "did not answer to the end"),
    ],
)
def test_an_answer_that_confirms_nothing_is_no_confirmation(
    token: str, exporter: ClickHouseExporter, reader: Driver, proxy: FaultProxy, *, answer: bytes, told: str
) -> None:
    """Errors with or without a code, other servers' pages, and answers in part: the insert may be tried again."""
    rows = table_of(exporter, sample())
    proxy.set(Fault.ANSWER, only=INSERT, answer=answer)
    with pytest.raises(RetryableError, match=told) as caught:
        exporter.insert(SPANS, rows, token)
    assert "\n" not in str(caught.value)
    proxy.clear()
    exporter.insert(SPANS, rows, token)
    assert stored(reader) == ROWS


@pytest.mark.parametrize("rows", [ROWS, ROWS + 5])
def test_a_whole_answer_with_all_rows_is_a_confirmation(
    token: str, exporter: ClickHouseExporter, proxy: FaultProxy, rows: int
) -> None:
    """Materialized views may add to the count; without a length, the end of the connection ends the answer."""
    proxy.set(Fault.ANSWER, only=INSERT, answer=head(SUMMARY.strip() % rows))
    exporter.insert(SPANS, table_of(exporter, sample()), token)


def test_an_error_before_the_insert_is_not_held_against_the_data(
    token: str, exporter: ClickHouseExporter, proxy: FaultProxy
) -> None:
    """A code that would refuse the data, in the answer to a question of the connection's own, refuses nothing."""
    rows = table_of(exporter, sample())
    exporter._client.close()
    proxy.set(Fault.ANSWER, only=b"SELECT", answer=failed(117, b"Odd. (INCORRECT_DATA)"))
    with pytest.raises(RetryableError):
        exporter.insert(SPANS, rows, token)


def test_a_refusal_keeps_the_connection(token: str, exporter: ClickHouseExporter, proxy: FaultProxy) -> None:
    """Refused data, which is sent again in halves, costs no new connection."""
    proxy.set(Fault.ANSWER, only=INSERT, times=1, answer=failed(469, b"No. (VIOLATED_CONSTRAINT)"))
    rows = table_of(exporter, sample())
    with pytest.raises(PermanentError):
        exporter.insert(SPANS, rows, token)
    requests = proxy.counts["requests"]
    exporter.insert(SPANS, rows, token + "2")
    assert proxy.counts["requests"] == requests + 1


def test_a_stream_that_lost_its_rows_on_the_way_is_not_confirmed(exporter: ClickHouseExporter, reader: Driver) -> None:
    """ClickHouse takes a stream that ends after its schema for an empty one; the exporter does not."""
    reader.command("CREATE TABLE some (number UInt64) ENGINE = MergeTree ORDER BY number")
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, pa.schema([pa.field("number", pa.uint64())])).close()
    with pytest.raises(RetryableError, match=r"counts 0 of 7 rows"):
        exporter._client.insert_arrow("some", ["number"], sink.getvalue().to_pybytes(), {}, rows=7)


def test_an_insert_is_stored_whole_or_not_at_all(token: str, exporter: ClickHouseExporter, reader: Driver) -> None:
    """Even for a user whose profile asks for small blocks: blocks stored in part would take the rest for known."""
    small = {"use_strict_insert_block_limits": "1", "max_insert_block_size": "1", "max_insert_block_size_bytes": "1"}
    for name, value in small.items():
        exporter._client._driver.set_client_setting(name, value)  # type: ignore[union-attr]
    rows = table_of(exporter, sample())
    reader.command(f"ALTER TABLE {SPANS} ADD CONSTRAINT named CHECK SpanId != '{rows['SpanId'].to_pylist()[-1]}'")
    with pytest.raises(PermanentError):
        exporter.insert(SPANS, rows, token)
    assert stored(reader) == 0
    reader.command(f"ALTER TABLE {SPANS} DROP CONSTRAINT named")
    exporter.insert(SPANS, rows, token)
    assert stored(reader) == ROWS


def test_a_read_only_table_is_no_fault_of_the_data(token: str, exporter: ClickHouseExporter, reader: Driver) -> None:
    """A table that the operator made read-only takes the rows once it is writable again."""
    rows = table_of(exporter, sample())
    reader.command(f"ALTER TABLE {SPANS} MODIFY SETTING table_readonly = 1")
    with pytest.raises(RetryableError, match=r"the table is read-only .*Code: 774"):
        exporter.insert(SPANS, rows, token)
    reader.command(f"ALTER TABLE {SPANS} MODIFY SETTING table_readonly = 0")
    exporter.insert(SPANS, rows, token)
    assert stored(reader) == ROWS


def test_connections_are_let_go(token: str, exporter: ClickHouseExporter, proxy: FaultProxy) -> None:
    """Whatever fails, nothing of a connection stays behind."""
    managers = len(all_managers)
    proxy.set(Fault.ANSWER, answer=head(b"Content-Length: 0", status=b"502 Bad Gateway"))
    for _ in range(3):
        with pytest.raises(RetryableError):
            exporter.insert(SPANS, table_of(exporter, sample()), token)
    exporter.close()
    assert len(all_managers) <= managers
