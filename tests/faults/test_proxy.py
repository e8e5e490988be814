"""The proxy that breaks connections breaks them as it is told, and counts what it broke."""

from __future__ import annotations

import http.client
import http.server
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.harness import until
from tests.faults.proxy import Fault, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = b"x" * 200_000
ANSWER = b"y" * 1_000


class Upstream(http.server.ThreadingHTTPServer):
    """A server that answers every whole request alike, and remembers the bodies."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        self.cut = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        try:
            body = self.rfile.read(length)
        except OSError:
            body = b""
        if len(body) < length:
            self.server.cut += 1
            self.close_connection = True
            return
        self.server.bodies.append(body)
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(ANSWER), ANSWER))
        else:
            self.send_header("Content-Length", str(len(ANSWER)))
            self.end_headers()
            self.wfile.write(ANSWER)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server to stand in front of."""
    with Upstream() as made:
        thread = threading.Thread(target=made.serve_forever, args=[0.01])
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[FaultProxy]:
    """A proxy in front of it."""
    with FaultProxy("127.0.0.1", upstream.server_port) as made:
        yield made


@pytest.fixture
def connection(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    """A client's connection through the proxy."""
    made = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    yield made
    made.close()


def post(connection: http.client.HTTPConnection, path: str = "/", body: bytes = BODY) -> bytes:
    """One exchange; the answer's body."""
    connection.request("POST", path, body)
    return connection.getresponse().read()


def test_without_a_fault_everything_passes(
    proxy: FaultProxy, connection: http.client.HTTPConnection, upstream: Upstream
) -> None:
    """Requests and answers of either framing pass unchanged over one connection."""
    assert [post(connection, path) for path in ("/", "/chunked", "/")] == [ANSWER] * 3
    assert upstream.bodies == [BODY] * 3
    assert (proxy.counts, proxy.unheard) == ({"connections": 1, "requests": 3}, 0)


def test_a_refused_port_is_the_same_port_afterwards(proxy: FaultProxy, connection: http.client.HTTPConnection) -> None:
    """While it refuses, open connections are reset and none can be opened; later all is as before."""
    post(connection)
    proxy.set(Fault.REFUSE)
    with pytest.raises(OSError):
        post(connection)
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        post(connection)
    connection.close()
    proxy.clear()
    assert post(connection) == ANSWER


def test_new_connections_are_reset(proxy: FaultProxy, connection: http.client.HTTPConnection) -> None:
    """A fault that is set once happens once."""
    proxy.set(Fault.RESET, times=1)
    with pytest.raises(OSError):
        post(connection)
    connection.close()
    assert post(connection) == ANSWER
    assert proxy.counts["reset"] == 1


def test_idle_connections_are_closed(proxy: FaultProxy, connection: http.client.HTTPConnection) -> None:
    """A connection that idles is closed at once."""
    post(connection)
    proxy.set(Fault.CLOSE_IDLE)
    assert connection.sock.recv(1) == b""
    assert proxy.counts["close_idle"] == 1


def test_a_connection_is_dead_when_it_is_used_again(
    proxy: FaultProxy, connection: http.client.HTTPConnection, upstream: Upstream
) -> None:
    """The first request on a connection passes and the second meets a reset, before the server sees it."""
    proxy.set(Fault.DEAD_IDLE)
    assert post(connection) == ANSWER
    with pytest.raises(OSError):
        post(connection)
    assert len(upstream.bodies) == 1
    assert (proxy.counts["dead_idle"], proxy.unheard) == (1, 0)


def test_a_request_is_delayed(proxy: FaultProxy, connection: http.client.HTTPConnection) -> None:
    """A delayed request arrives later and whole."""
    proxy.set(Fault.DELAY, seconds=0.2)
    began = time.monotonic()
    assert post(connection) == ANSWER
    assert time.monotonic() - began >= 0.2


def test_a_request_is_throttled(proxy: FaultProxy, connection: http.client.HTTPConnection, upstream: Upstream) -> None:
    """A throttled request takes as long as its size and the rate say, and arrives whole."""
    proxy.set(Fault.THROTTLE, rate=1_000_000)
    began = time.monotonic()
    assert post(connection) == ANSWER
    assert time.monotonic() - began >= 0.15
    assert upstream.bodies == [BODY]


def test_a_request_is_cut(proxy: FaultProxy, connection: http.client.HTTPConnection, upstream: Upstream) -> None:
    """The server gets the beginning of a body and then a reset; so does the client."""
    proxy.set(Fault.CUT_REQUEST, after=1000)
    with pytest.raises(OSError):
        post(connection)
    until(lambda: upstream.cut == 1)
    assert upstream.bodies == []
    assert (proxy.counts["cut_request"], proxy.unheard) == (1, 0)


def test_an_answer_is_withheld(proxy: FaultProxy, connection: http.client.HTTPConnection, upstream: Upstream) -> None:
    """The server has answered, the client waits in vain, and that is counted."""
    connection.timeout = 0.3
    proxy.set(Fault.WITHHOLD, times=1)
    with pytest.raises(TimeoutError):
        post(connection)
    assert upstream.bodies == [BODY]
    assert proxy.unheard == 1
    connection.close()
    assert post(connection) == ANSWER


def test_an_answer_is_dropped(proxy: FaultProxy, connection: http.client.HTTPConnection, upstream: Upstream) -> None:
    """The server has answered, and the client meets a reset."""
    proxy.set(Fault.DROP)
    with pytest.raises(OSError):
        post(connection)
    assert upstream.bodies == [BODY]
    assert proxy.unheard == 1


@pytest.mark.parametrize("path", ["/", "/chunked"])
@pytest.mark.parametrize("after", [0, 10, 500, -1, -7, 2000])
def test_an_answer_is_cut(proxy: FaultProxy, after: int, path: str) -> None:
    """The client gets as many bytes of the answer as were asked for, and then its end."""
    request = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n!" % path.encode()
    answers = []
    for fault in (None, Fault.CUT_RESPONSE):
        if fault is not None:
            proxy.set(fault, after=after)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as plain:
            plain.sendall(request)
            answers.append(b"".join(iter(lambda plain=plain: plain.recv(1 << 16), b"")))
    whole, cut = answers
    assert len(cut) == len(whole[:after])
    assert whole.startswith(cut[:15])
    assert whole.endswith(ANSWER if path == "/" else b"\r\n0\r\n\r\n")
    assert proxy.unheard == (0 if after == 2000 else 1)


def test_an_answer_trickles(proxy: FaultProxy, connection: http.client.HTTPConnection) -> None:
    """Every byte of the answer is on time for a client that waits for the next byte only."""
    connection.timeout = 0.5
    proxy.set(Fault.TRICKLE, seconds=0.0005)
    began = time.monotonic()
    assert post(connection) == ANSWER
    assert time.monotonic() - began > 0.5


def test_a_request_is_never_answered(proxy: FaultProxy, upstream: Upstream) -> None:
    """A connection is accepted, and nothing comes of it; the proxy ends all the same."""
    proxy.set(Fault.BLACKHOLE)
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=0.3)
    with pytest.raises(TimeoutError):
        post(connection, body=b"short")
    connection.close()
    assert upstream.bodies == []
    assert proxy.counts["blackhole"] == 1


def test_an_answer_can_be_given(proxy: FaultProxy, connection: http.client.HTTPConnection, upstream: Upstream) -> None:
    """The client gets the answer that was asked for, and the server sees nothing of the request."""
    proxy.set(Fault.ANSWER, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert post(connection) == b"hello"
    assert upstream.bodies == []


def test_a_fault_can_be_meant_for_some_requests(
    proxy: FaultProxy, connection: http.client.HTTPConnection, upstream: Upstream
) -> None:
    """`only` picks requests by their first line or the beginning of their body."""
    proxy.set(Fault.DROP, only=b"INSERT")
    assert post(connection, body=b"SELECT") == ANSWER
    for path, body in (("/", b"INSERT 1"), ("/?query=INSERT", b"2")):
        with pytest.raises(OSError):
            post(connection, path, body)
        connection.close()
    assert upstream.bodies == [b"SELECT", b"INSERT 1", b"2"]
    assert proxy.unheard == 2


def test_a_server_that_is_away_resets_the_client(proxy: FaultProxy, upstream: Upstream) -> None:
    """Where nothing listens behind the proxy, a request meets a reset."""
    upstream.server_close()
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    with pytest.raises(OSError):
        post(connection)
    connection.close()
