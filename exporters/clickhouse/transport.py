"""The HTTP under the ClickHouse client: it ends in time, whatever the other side does, and takes only whole answers.

Three things that urllib3 leaves open matter to a sender that must not hang and must not believe too much:

- Its timeouts are between two bytes. A server that sends one now and then is waited for without end.
- The body of a request is sent under the timeout for connecting, as a whole: a large one on a slow line never arrives.
- The end of the connection is taken for the end of the headers, so that an answer cut off there looks like a whole one.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Self

from clickhouse_connect.driver.httputil import all_managers, check_env_proxy, get_pool_manager_options
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from io import BufferedReader
    from urllib.parse import SplitResult

_PIECE: Final = 1 << 20
_CONNECT: Final = 10.0
_LONGEST: Final = 4
"""How many times `timeout` a call may take altogether, if the other side is heard of in between."""


class Deadline:
    """Ends what happens within it: `timeout` seconds without a byte, or four times as much altogether.

    `has_passed` tells whether the latter was the reason for a failure. For one use.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.longest = _LONGEST * timeout
        self.has_passed = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(self.longest, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._token = _DEADLINE.set(self)
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _DEADLINE.reset(self._token)

    def watch(self, connection: socket.socket) -> None:
        """End this connection too when the time is over; TimeoutError if it is over already."""
        with self._lock:
            if self.has_passed:
                raise TimeoutError(f"not done within {self.longest:g} s")
            self._sockets.append(connection)

    def _pass(self) -> None:
        with self._lock:
            self.has_passed = True
            for connection in self._sockets:
                # Wakes the thread that waits for it. The plain socket's method, because one of TLS would drop its
                # state under that thread.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)


_DEADLINE: ContextVar[Deadline] = ContextVar("deadline")
"""Of the call under way in this thread; urllib3 offers no way to hand it down to a connection."""


class Manager(PoolManager):
    """The connections of one client. `answer` is the last answer that was read to its end, if it was not streamed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        self.answer: BaseHTTPResponse | None = None

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> BaseHTTPResponse:
        """Ask once.

        Redirects are not followed: they would turn an insert into a GET of another page, and its 200 would say nothing.
        """
        self.answer = None
        deadline = _DEADLINE.get(None)
        if deadline is not None:
            options["timeout"] = Timeout(connect=min(_CONNECT, deadline.timeout), read=deadline.timeout)
        answer = super().request(method, url, *arguments, **options, redirect=False)
        if options.get("preload_content", True):
            self.answer = answer
        return answer

    def close(self) -> None:
        """Drop the connections; requests make new ones."""
        self.clear()
        # clickhouse-connect keeps every manager there that it has seen, for ever.
        all_managers.pop(self, None)


class _ProxyManager(Manager, ProxyManager):
    """The same through a proxy."""


def new_manager(url: SplitResult) -> Manager:
    """Connections for a server, through the proxy that the environment names for it."""
    host = url.hostname or "localhost"
    # A proxy could not reach this machine under these names, and is not to see what stays on it.
    is_here = host in {"localhost", "127.0.0.1", "::1"}
    proxy = None if is_here else check_env_proxy(url.scheme, host, url.port or 0)
    options = get_pool_manager_options()
    if proxy is None:
        return Manager(**options)
    return _ProxyManager(proxy_url=proxy if "://" in proxy else f"http://{proxy}", **options)


class _WholeHead(http.client.HTTPResponse):
    """A response whose headers end with an empty line."""

    def begin(self) -> None:
        reader = self.fp
        lines: Any = _Lines(reader)
        self.fp = lines
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = reader
        if lines.last not in {b"\r\n", b"\n"}:
            raise http.client.IncompleteRead(b"")


class _Lines:
    """A reader, of which only these are called while the head is read, that keeps the last line."""

    def __init__(self, reader: BufferedReader) -> None:
        self._reader = reader
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._reader.readline(limit)
        return self.last

    def close(self) -> None:
        self._reader.close()


class _Connection(HTTPConnection):
    response_class = _WholeHead

    def connect(self) -> None:
        super().connect()
        self._watch()

    def request(self, *arguments: Any, **options: Any) -> None:
        self._watch()
        super().request(*arguments, **options)

    def send(self, data: Any) -> None:
        deadline = _DEADLINE.get(None)
        if deadline is None or self.sock is None or not isinstance(data, bytes | bytearray):
            super().send(data)
            return
        whole = memoryview(data)
        for start in range(0, len(whole), _PIECE):
            self.sock.settimeout(deadline.timeout)
            super().send(whole[start : start + _PIECE])

    def _watch(self) -> None:
        deadline = _DEADLINE.get(None)
        if deadline is not None and self.sock is not None:
            deadline.watch(self.sock)


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
