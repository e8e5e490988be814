"""ClickHouse's HTTP protocol over a real port, as curl speaks it."""

import asyncio
import gzip
import io
import json
import sys
import urllib.parse
import zlib
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import aiohttp
import lz4.frame
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Answer(NamedTuple):
    """A response that is read to its end."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def summary(self) -> dict[str, str]:
        """The counts of the query."""
        counts: dict[str, str] = json.loads(self.headers["X-ClickHouse-Summary"])
        return counts


class Client:
    """Sends raw requests, and takes the responses as they are: compressed, if they are."""

    def __init__(self, session: aiohttp.ClientSession, url: str, database: str) -> None:
        self._session = session
        self._url = url
        self.database = database

    async def __call__(
        self,
        body: bytes | str | aiohttp.FormData = b"",
        *,
        method: str = "POST",
        path: str = "/",
        headers: dict[str, str] | None = None,
        **parameters: str,
    ) -> Answer:
        """Send one request in the test's database."""
        query = urllib.parse.urlencode({"database": self.database} | parameters)
        text = body.encode() if isinstance(body, str) else body
        data = io.BytesIO(text) if isinstance(text, bytes) else text  # of large plain bytes, aiohttp warns
        async with self._session.request(method, f"{self._url}{path}?{query}", data=data, headers=headers) as response:
            return Answer(response.status, await response.read(), dict(response.headers))


@pytest.fixture
async def ask(clickhouse_url: str, clickhouse_database: str) -> AsyncIterator[Client]:
    """A client of the test's database."""
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session:
        yield Client(session, clickhouse_url, clickhouse_database)


@pytest.fixture
async def table(ask: Client) -> str:
    """A table of numbers and strings."""
    made = await ask("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    assert made.status == 200, made.body
    return "t"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/ping", "/replicas_status"])
async def test_health_checks_answer_ok(ask: Client, method: str, path: str) -> None:
    """The paths that ClickHouse's health checks use say Ok."""
    answer = await ask(method=method, path=path)
    assert (answer.status, answer.body) == (200, b"Ok.\n" if method == "GET" else b"")


async def test_an_unknown_path_is_not_found(ask: Client) -> None:
    """A path that is no handler says which are."""
    answer = await ask(method="GET", path="/nothing")
    assert (answer.status, b"/ping" in answer.body) == (404, True)


async def test_a_query_is_the_url_then_the_body(ask: Client) -> None:
    """The query stands in the URL, in the body, or begins in the one and goes on in the other."""
    assert (await ask(method="GET", query="SELECT 1")).body == b"1\n"
    assert (await ask("SELECT 2")).body == b"2\n"
    assert (await ask("3 + 4", query="SELECT")).body == b"7\n"


async def test_a_long_query_is_read_whole(ask: Client) -> None:
    """A query beyond the part where an INSERT is looked for is taken whole, and one without any end is refused."""
    text = "; it''s " * 200_000
    assert (await ask(f"SELECT length('{text}')", max_query_size="10000000")).body == b"1400000\n"
    refused = await ask(f"SELECT length('{text * 12}')")
    assert (refused.status, refused.headers["X-ClickHouse-Exception-Code"]) == (413, "229")


async def test_the_format_comes_from_the_query_then_the_url_then_the_header(ask: Client) -> None:
    """FORMAT wins over default_format, which wins over the header; the response names what was used."""
    plain = await ask("SELECT 1 AS a")
    header = await ask("SELECT 1 AS a", headers={"X-ClickHouse-Format": "CSVWithNames"})
    url = await ask("SELECT 1 AS a", headers={"X-ClickHouse-Format": "CSV"}, default_format="JSONEachRow")
    clause = await ask("SELECT 1 AS a FORMAT JSONCompact", default_format="CSV")
    assert [answer.headers["X-ClickHouse-Format"] for answer in (plain, header, url, clause)] == [
        "TabSeparated",
        "CSVWithNames",
        "JSONEachRow",
        "JSONCompact",
    ]
    assert (plain.body, header.body, url.body) == (b"1\n", b'"a"\n1\n', b'{"a":1}\n')
    assert json.loads(clause.body)["data"] == [[1]]
    assert clause.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert plain.headers["Content-Type"] == "text/tab-separated-values; charset=UTF-8"


async def test_the_headers_tell_of_the_query(ask: Client) -> None:
    """Query id, time zone, server and counts come with each response."""
    answer = await ask("SELECT number FROM numbers(10)", query_id="of-this-test")
    assert answer.headers["X-ClickHouse-Query-Id"] == "of-this-test"
    assert answer.headers["X-ClickHouse-Timezone"]
    assert answer.headers["X-ClickHouse-Server-Display-Name"]
    assert (answer.summary["read_rows"], answer.summary["result_rows"]) == ("10", "10")


async def test_settings_and_parameters_of_the_url_hold_for_one_request(ask: Client) -> None:
    """A setting and a parameter reach their query, with any characters, and are gone in the next."""
    sql = "SELECT getSetting('max_threads'), getSetting('log_comment'), {x:String}, {y:Array(UInt8)}"
    answer = await ask(sql, max_threads="3", log_comment="it's \\ 'quoted'", param_x="a\\tb'", param_y="[1,2]")
    assert answer.body == b"3\tit\\'s \\\\ \\'quoted\\'\ta\\tb\\'\t[1,2]\n"
    assert (await ask("SELECT getSetting('log_comment')")).body == b"\n"
    assert (await ask("SELECT {x:String}")).headers["X-ClickHouse-Exception-Code"] == "456"


async def test_parameters_may_come_as_a_form(ask: Client) -> None:
    """A multipart form brings the query and parameters too long for a URL."""
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("query", "SELECT length({x:String})")
    form.add_field("param_x", "x" * 100_000)
    assert (await ask(form)).body == b"100000\n"


async def test_external_tables_are_refused(ask: Client) -> None:
    """A file in the form would be an external table, which there is not."""
    form = aiohttp.FormData({"numbers": io.BytesIO(b"1\n")})
    answer = await ask(form, query="SELECT * FROM numbers", numbers_structure="a UInt8")
    assert (answer.status, b"External tables" in answer.body) == (501, True)


@pytest.mark.parametrize(
    ("sql", "code", "status", "name"),
    [
        ("SELECT * FROM nothing", 60, 404, b"UNKNOWN_TABLE"),
        ("SELECT 1 FROM", 62, 400, b"SYNTAX_ERROR"),
        ("1 + 1", 62, 400, b"SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 62, 400, b"SYNTAX_ERROR"),
        ("SELECT nothing", 47, 404, b"UNKNOWN_IDENTIFIER"),
        ("SELECT 1 FORMAT Nothing", 73, 404, b"UNKNOWN_FORMAT"),
        ("SELECT throwIf(1)", 395, 500, b"FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT 1 INTO OUTFILE 'a'", 355, 500, b"INTO_OUTFILE_NOT_ALLOWED"),
        (b"SELECT '\xff' FROM nothing", 60, 404, b"UNKNOWN_TABLE"),
    ],
)
async def test_errors_have_the_codes_and_statuses_of_clickhouse(
    ask: Client, sql: str | bytes, code: int, status: int, name: bytes
) -> None:
    """An error is ClickHouse's own: number in the header, wording, name and version in the body, its HTTP status."""
    answer = await ask(sql)
    assert (answer.headers["X-ClickHouse-Exception-Code"], answer.status) == (str(code), status)
    assert answer.body.startswith(b"Code: %d. DB::Exception: " % code)
    assert b"(%b) (version 2" % name in answer.body


@pytest.mark.parametrize(
    ("parameters", "code", "status"),
    [
        ({"no_such_setting": "1"}, 115, 404),
        ({"no such = 'setting'; --": "1"}, 115, 404),
        ({"max_threads": "many"}, 27, 400),
        ({"database": "nothing"}, 81, 404),
        ({"default_format": "DataFrame"}, 73, 404),
        ({"role": "admin"}, 511, 404),
        (
            {"max_execution_time": "0.1", "query": "SELECT count() FROM numbers(1000000000000) WHERE number % 7"},
            159,
            408,
        ),
    ],
)
async def test_errors_of_the_parameters(ask: Client, parameters: dict[str, str], code: int, status: int) -> None:
    """What is wrong with the URL is said as ClickHouse says it."""
    answer = await ask(**{"query": "SELECT 1"} | parameters)
    assert (answer.headers["X-ClickHouse-Exception-Code"], answer.status) == (str(code), status)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("parameters", [{}, {"readonly": "0"}])
async def test_a_get_changes_nothing(ask: Client, parameters: dict[str, str]) -> None:
    """GET is read-only whatever the URL says, but takes settings."""
    refused = await ask(method="GET", query="INSERT INTO t VALUES (1, 'x')", **parameters)
    assert refused.headers["X-ClickHouse-Exception-Code"] == "164"
    assert (await ask(method="GET", query="SELECT count() FROM t", max_threads="1")).body == b"0\n"


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("in_url", "body"),
    [
        ("", b'INSERT INTO t FORMAT JSONEachRow\n{"a": 1, "s": "x;"}\n{"a": 2, "s": "\\n\\n"}'),
        ("INSERT INTO t FORMAT JSONEachRow", b'{"a": 1, "s": "x;"}\n{"a": 2, "s": "\\n\\n"}'),
        ("INSERT INTO t VALUES", b"(1, 'x;'), (2, '\\n\\n')"),
        ("INSERT INTO t (s, a) FORMAT CSV", b'"x;",1\n"\n\n",2\n'),
        ("INSERT INTO {t:Identifier} FORMAT RowBinary\n", bytes([1, *[0] * 7, 2, *b"x;", 2, *[0] * 7, 2, *b"\n\n"])),
    ],
)
async def test_inserted_data_arrives_as_it_is(ask: Client, in_url: str, body: bytes) -> None:
    """Data behind the INSERT or in a body of its own is stored byte by byte and counted, also `;` and empty lines."""
    answer = await ask(body, query=in_url, param_t="t")
    assert answer.status == 200, answer.body
    assert answer.summary["written_rows"] == "2"
    assert (await ask("SELECT a, s FROM t ORDER BY a")).body == b"1\tx;\n2\t\\n\\n\n"


@pytest.mark.usefixtures("table")
async def test_broken_data_is_an_error(ask: Client) -> None:
    """Data that do not parse are refused with the row that is wrong, and nothing of the insert is stored."""
    answer = await ask(b"1\tx\nwrong\ty\n", query="INSERT INTO t FORMAT TSV")
    assert (answer.status, b"row 2" in answer.body) == (400, True)
    assert (await ask("SELECT count() FROM t")).body == b"0\n"


@pytest.mark.usefixtures("table")
async def test_a_body_larger_than_memory_is_spooled(ask: Client) -> None:
    """A body beyond what is kept in memory arrives whole, as one part."""
    row = b'{"a":7,"s":"%b"}\n' % (b"x" * 1000)
    answer = await ask(row * 40_000, query="INSERT INTO t FORMAT JSONEachRow")
    assert answer.summary["written_rows"] == "40000"
    assert (await ask("SELECT count(), min(length(s)) FROM t")).body == b"40000\t1000\n"


ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "lz4": lz4.frame.compress,
}
DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": zstd.decompress,
    "lz4": lz4.frame.decompress,
}


@pytest.mark.parametrize("encoding", ENCODE)
async def test_compressed_both_ways(ask: Client, table: str, encoding: str) -> None:
    """A body is decompressed as its Content-Encoding says, a result compressed as Accept-Encoding asks."""
    body = ENCODE[encoding](b"1\tx\n") + ENCODE[encoding](b"2\ty\n")
    stored = await ask(body, query=f"INSERT INTO {table} FORMAT TSV", headers={"Content-Encoding": encoding})
    assert stored.status == 200, stored.body
    answer = await ask(f"SELECT * FROM {table} ORDER BY a", headers={"Accept-Encoding": encoding})
    assert answer.headers["Content-Encoding"] == encoding
    assert DECODE[encoding](answer.body) == b"1\tx\n2\ty\n"
    plain = await ask("SELECT 1", headers={"Accept-Encoding": encoding}, enable_http_compression="0")
    assert plain.body == b"1\n"


@pytest.mark.parametrize("encoding", ENCODE)
@pytest.mark.parametrize("damage", [lambda body: body[:-6], lambda body: b"broken" + body])
async def test_a_broken_compressed_body_stores_nothing(
    ask: Client, table: str, encoding: str, damage: Callable[[bytes], bytes]
) -> None:
    """A body that is cut off or no such compression is a clear error of the client, and nothing is stored."""
    body = damage(ENCODE[encoding](b"1\tx\n" * 1000))
    answer = await ask(body, query=f"INSERT INTO {table} FORMAT TSV", headers={"Content-Encoding": encoding})
    assert (answer.status, encoding.encode() in answer.body) == (400, True)
    assert (await ask(f"SELECT count() FROM {table}")).body == b"0\n"


async def test_an_unknown_content_encoding_is_refused(ask: Client) -> None:
    """A compression that is not offered is named, with those that are."""
    answer = await ask(b"x", headers={"Content-Encoding": "br"})
    assert (answer.status, b"lz4, zstd, gzip, deflate" in answer.body) == (501, True)


@pytest.mark.parametrize("encoding", [None, *ENCODE])
async def test_a_large_result_comes_in_pieces(ask: Client, encoding: str | None) -> None:
    """A long result is sent while it is read, and is the same bytes."""
    headers = {"Accept-Encoding": encoding} if encoding else None
    answer = await ask("SELECT number FROM numbers(300000)", headers=headers)
    assert "Content-Length" not in answer.headers
    body = DECODE[encoding](answer.body) if encoding else answer.body
    assert body == b"".join(b"%d\n" % number for number in range(300_000))
    whole = await ask("SELECT number FROM numbers(300000)", headers=headers, wait_end_of_query="1")
    assert whole.headers["Content-Length"] == str(len(whole.body))
    assert whole.summary["result_rows"] == "300000"


async def test_an_error_amid_a_result_is_told_in_the_body(clickhouse_url: str) -> None:
    """Once a result is under way, an error is told at its end, marked by the header's tag, and breaks it off."""
    sql = b"SELECT number, throwIf(number = 450000) FROM numbers(500000) SETTINGS max_threads = 1"
    received, broken_off = b"", False
    async with aiohttp.ClientSession() as session, session.post(clickhouse_url, data=sql) as response:
        try:
            async for piece in response.content.iter_any():
                received += piece
        except aiohttp.ClientPayloadError:
            broken_off = True
        tag = response.headers["X-ClickHouse-Exception-Tag"].encode()
    _, message, end = received.split(b"__exception__\r\n")
    assert message.startswith(tag + b"\r\nCode: 395. DB::Exception: ")
    assert (message.endswith(tag + b"\r\n"), end, broken_off) == (True, b"", True)


async def test_a_query_ends_when_its_reader_goes_away(ask: Client, clickhouse_url: str) -> None:
    """Who stops reading a long result stops the query."""
    running = f"SELECT countIf(query LIKE 'SELECT number, ''{ask.database}%') FROM system.processes"
    sql = f"SELECT number, '{ask.database}' FROM system.numbers".encode()
    async with aiohttp.ClientSession() as session, session.post(clickhouse_url, data=sql) as response:
        await response.content.readany()
        assert (await ask(running)).body == b"1\n"
        response.close()
    async with asyncio.timeout(20):
        while (await ask(running)).body != b"0\n":
            pass


async def test_totals_are_kept(ask: Client) -> None:
    """Rows that ClickHouse adds beside the result stay in it."""
    answer = await ask("SELECT number % 2 AS k, count() FROM numbers(4) GROUP BY k WITH TOTALS ORDER BY k")
    assert answer.body == b"0\t2\n1\t2\n\n0\t4\n"


async def test_queries_run_at_the_same_time(ask: Client) -> None:
    """A query waits for no other."""
    slow = [asyncio.create_task(ask(f"SELECT sleep(0.5), '{ask.database}'")) for _ in range(2)]
    together = b"0\n"
    while together != b"2\n" and not all(query.done() for query in slow):
        together = (await ask(f"SELECT countIf(query LIKE 'SELECT sleep%{ask.database}%') FROM system.processes")).body
    assert together == b"2\n"
    assert {query.status for query in await asyncio.gather(*slow)} == {200}


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n8\r\n"])
async def test_a_body_cut_off_stores_nothing(
    ask: Client, clickhouse_url: str, clickhouse_database: str, framing: bytes
) -> None:
    """An insert whose sender goes away in the middle of the body leaves no row behind."""
    address = urllib.parse.urlsplit(clickhouse_url)
    query = urllib.parse.urlencode({"query": f"INSERT INTO {clickhouse_database}.t FORMAT TSV"})
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"POST /?{query} HTTP/1.1\r\nHost: x\r\n".encode() + framing + b"1\tx\n2\ty\n")
    await writer.drain()
    writer.write_eof()
    assert b"200 OK" not in await reader.read()
    writer.close()
    await writer.wait_closed()
    assert (await ask("SELECT count() FROM t")).body == b"0\n"
