"""Queries under way: their ids, KILL QUERY, progress, clients that go away, and results of every format and size."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import urllib.parse
from typing import TYPE_CHECKING

import pytest

from exporters.clickhouse.embedded.blocks import BlockDecoder, BlockEncoder
from tests.exporters.clickhouse.embedded.server import Answer, until

if TYPE_CHECKING:
    from tests.exporters.clickhouse.embedded.server import Server

SLOW = "SELECT count() FROM numbers(1000000000000) WHERE number % 7"


class Asking(threading.Thread):
    """A query that is asked beside the test; `answer` once it ended."""

    def __init__(self, server: Server, sql: str, user: str, **parameters: str) -> None:
        super().__init__()
        self.answer: Answer | None = None
        self._arguments = (server, sql, user, parameters)
        self.start()

    def run(self) -> None:
        """Ask it."""
        server, sql, user, parameters = self._arguments
        self.answer = server.ask(sql, user, **parameters)

    def ended(self) -> Answer:
        """The answer, once it is there."""
        self.join()
        assert self.answer is not None
        return self.answer


def is_running(server: Server, sql: str) -> bool:
    """Whether a query with this text runs, as the engine sees it."""
    text = sql.replace("'", "\\'")
    return server.ask(f"SELECT countIf(startsWith(query, '{text}')) FROM system.processes", "admin").body != b"0\n"


def test_a_query_is_killed_by_its_id(server: Server) -> None:
    """KILL QUERY finds the id that the client gave, tells what it killed, and the query ends with its own code."""
    asking = Asking(server, SLOW, "ann", query_id="to-be-killed")
    until(lambda: is_running(server, SLOW))
    killed = server.ask("KILL QUERY WHERE query_id = 'to-be-killed' SYNC FORMAT JSONEachRow", "ann")
    (row,) = [json.loads(line) for line in killed.body.splitlines()]
    assert (row["kill_status"], row["query_id"], row["user"]) == ("finished", "to-be-killed", "ann")
    assert asking.ended().code == 394


def test_only_an_admin_kills_other_users_queries(server: Server) -> None:
    """KILL QUERY leaves the queries of others alone, TEST kills none, and an admin kills any."""
    asking = Asking(server, SLOW, "ann", query_id="of-ann")
    until(lambda: is_running(server, SLOW))
    assert server.ask("KILL QUERY WHERE 1 SYNC").body == b""
    assert b"of-ann" in server.ask("KILL QUERY WHERE user = 'ann' TEST", "admin").body
    assert is_running(server, SLOW)
    assert b"of-ann" in server.ask("KILL QUERY WHERE user = 'ann' SYNC", "admin").body
    assert asking.ended().code == 394


def test_two_queries_never_have_one_id(server: Server) -> None:
    """A query id that is in use is refused until its query has ended."""
    asking = Asking(server, SLOW, "ann", query_id="twice")
    until(lambda: is_running(server, SLOW))
    assert server.ask("SELECT 1", query_id="twice").code == 216
    server.ask("KILL QUERY WHERE query_id = 'twice' SYNC", "ann")
    asking.ended()
    assert server.ask("SELECT 1", query_id="twice").body == b"1\n"


def test_a_client_that_goes_away_ends_its_query(server: Server) -> None:
    """A query that only computes, and has sent nothing yet, ends when nobody waits for it any more."""
    sql = f"{SLOW} AND 'nobody' != ''"
    address = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    connection.request("POST", "/", sql)
    until(lambda: is_running(server, sql))
    connection.close()
    until(lambda: not is_running(server, sql))
    assert server.ask("SELECT 1", "ann").body == b"1\n"


def test_progress_is_told_in_headers(server: Server) -> None:
    """With send_progress_in_http_headers a long query's counts come along, and the summary has the final ones."""
    answer = server.ask(
        "SELECT count() FROM numbers(300000000) WHERE NOT ignore(sipHash64(number))",
        "admin",
        send_progress_in_http_headers="1",
        http_headers_progress_interval_ms="10",
    )
    progress = {name: int(count) for name, count in json.loads(answer.headers["X-ClickHouse-Progress"]).items()}
    assert 0 < progress["read_rows"] <= answer.summary["read_rows"] == 300_000_000
    assert progress["elapsed_ns"] > 0


@pytest.mark.parametrize("output_format", ["JSON", "ArrowStream", "Parquet", "RowBinaryWithNamesAndTypes", "XML"])
def test_large_results_of_any_format_are_not_held(server: Server, output_format: str) -> None:
    """A result of a hundred megabytes and more leaves the server's memory where it was."""
    resident = resident_bytes(server)
    sql = "SELECT number, toString(sipHash128(number)) AS s FROM numbers(4000000)"
    settings = {"max_threads": "1", "output_format_parquet_row_group_size": "50000"}
    answer = server.ask(f"{sql} FORMAT {output_format}", "admin", **settings)
    assert len(answer.body) > 60_000_000
    assert "X-ClickHouse-Exception-Tag" in answer.headers
    assert resident_bytes(server) - resident < 60_000_000


def test_the_end_is_waited_for_if_that_is_asked(server: Server) -> None:
    """With wait_end_of_query an error late in a large result is a status, not a mark in its middle."""
    sql = "SELECT number, throwIf(number = 450000) FROM numbers(500000) SETTINGS max_threads = 1"
    with pytest.raises(http.client.IncompleteRead):
        server.ask(sql, "admin")
    answer = server.ask(sql, "admin", wait_end_of_query="1")
    assert (answer.status, answer.code) == (500, 395)


def test_errors_are_blocks_where_the_client_reads_blocks(server: Server) -> None:
    """With compress=1, results, errors and errors late in a result all come in ClickHouse's own blocks."""

    def plain(body: bytes) -> bytes:
        decoder = BlockDecoder()
        data = b"".join(decoder.feed(body))
        decoder.finish()
        return data

    assert plain(server.ask("SELECT 1", "ann", compress="1").body) == b"1\n"
    assert plain(server.ask("SELECT", "ann", compress="1").body).startswith(b"Code: 62. DB::Exception: ")
    late = "SELECT number, throwIf(number = 450000) FROM numbers(500000) SETTINGS max_threads = 1"
    with pytest.raises(http.client.IncompleteRead) as broken_off:
        server.ask(late, "admin", compress="1")
    received = b"".join([broken_off.value.partial])
    assert b"__exception__\r\n" in received
    assert b"Code: 395. DB::Exception: " in received


def test_a_request_may_come_in_blocks(server: Server) -> None:
    """With decompress=1 a body of ClickHouse's blocks is read as what is in them."""
    encoder = BlockEncoder()
    body = encoder.compress(b"SELECT 1 + 1") + encoder.flush()
    assert server.ask(body, decompress="1").body == b"2\n"


@pytest.mark.parametrize(("version", "size"), [("54460", 8 + 4), ("52000", 8), ("0", 0), ("", 0)])
def test_the_hello_of_clickhouse_go_is_answered_in_its_form(server: Server, version: str, size: int) -> None:
    """Its first query is told revision 0, in the form of the revision it asks for; then it reads the engine's form."""
    sql = "SELECT displayName(), version(), revision(), timezone()"
    answer = server.ask(sql, "ann", default_format="Native", client_protocol_version=version)
    assert answer.body.startswith((b"\x01\x00\x02\xff\xff\xff\xff\x00" if size >= 8 else b"") + b"\x04\x01")
    assert b"revision()\x06UInt32" + bytes(5 if size == 12 else 4) + b"\x0atimezone()" in answer.body


class Unread:
    """Clients that ask for a large result and never read it."""

    def __init__(self, server: Server, count: int) -> None:
        address = urllib.parse.urlsplit(server.url)
        self._sockets = [socket.create_connection((address.hostname, address.port)) for _ in range(count)]
        for number, each in enumerate(self._sockets):
            query = urllib.parse.urlencode({"query_id": f"unread-{number}", "user": "writer", "password": "writer's"})
            sql = b"SELECT number FROM numbers(100000000)"
            head = f"POST /?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sql)}\r\n\r\n"
            each.sendall(head.encode() + sql)

    def close(self) -> None:
        """Go away."""
        for each in self._sockets:
            each.close()


def test_clients_that_do_not_read_keep_no_thread_from_an_admin(server: Server) -> None:
    """However many do not read their results: inserts and admins go on, and a KILL frees the readers' threads."""
    unread = Unread(server, 16)
    try:
        count = "SELECT count() FROM system.processes WHERE startsWith(query, 'SELECT number FROM numbers(100000000)')"
        until(lambda: server.ask(count, "admin").body == b"16\n")
        assert server.ask("INSERT INTO shop.t FORMAT TSV\n", "writer").status == 200
        killed = server.ask("KILL QUERY WHERE query_id LIKE 'unread-%' SYNC", "admin")
        assert killed.body.count(b"finished") == 16
        assert server.ask("SELECT 1").body == b"1\n"
    finally:
        unread.close()


def test_a_head_has_no_body(server: Server) -> None:
    """HEAD answers a large result with its headers alone, so that the next answer on the connection is not lost."""
    address = urllib.parse.urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    query = urllib.parse.quote("SELECT number FROM numbers(300000)")
    for more in ("", "&wait_end_of_query=1"):
        connection.request("HEAD", f"/?query={query}{more}")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        connection.request("GET", "/?query=SELECT+7")
        assert connection.getresponse().read() == b"7\n"
    connection.close()


def test_a_bomb_of_many_blocks_is_taken_one_by_one(server: Server) -> None:
    """A few thousand bytes that stand for gigabytes of blocks are refused early, and are never held as a whole."""
    encoder = BlockEncoder()
    block = encoder.compress(bytes(1 << 20))
    before = resident_bytes(server)
    answer = server.ask(gzip.compress(block * 2000), decompress="1", headers={"Content-Encoding": "gzip"})
    assert answer.code == 229
    assert resident_bytes(server) - before < 200_000_000


def resident_bytes(server: Server) -> int:
    """The server's memory in use."""
    with open(f"/proc/{server.process.pid}/statm") as file:  # noqa: PTH123 -- no file of the test's
        return int(file.read().split()[1]) * 4096
