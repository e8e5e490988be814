"""A TCP proxy for HTTP that breaks connections and answers on request, and counts what it broke.

It stands in front of a server of 127.0.0.1. It reads as much of HTTP as it needs to know where a request and its answer
begin and end, so that a fault can be placed: in the middle of a body, or after the server has done what it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

_PIECE: Final = 1 << 16
_MOST_CONNECTIONS: Final = 256
_PATIENCE: Final = 10.0
_LOOK_EVERY: Final = 0.02
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Fault(StrEnum):
    """What the proxy can do to a connection, a request or its answer."""

    REFUSE = "refuse"
    """Nothing listens; connections that are open are reset."""
    RESET = "reset"
    """A new connection is reset."""
    BLACKHOLE = "blackhole"
    """A request is not read and never answered."""
    CLOSE_IDLE = "close_idle"
    """Connections that are kept alive are closed while they idle: at once, and later after each answer."""
    DEAD_IDLE = "dead_idle"
    """A connection that was kept alive looks well, and is reset by the next request on it."""
    DELAY = "delay"
    """A request waits for `seconds` before it is passed on."""
    THROTTLE = "throttle"
    """A request is passed on at `rate` bytes per second."""
    CUT_REQUEST = "cut_request"
    """After `after` bytes of a request's body both sides are reset."""
    WITHHOLD = "withhold"
    """A request is passed on and its answer read to the end, but never passed on: the client waits."""
    DROP = "drop"
    """A request is passed on and its answer read to the end; then the client's connection is reset."""
    CUT_RESPONSE = "cut_response"
    """Of an answer, head included, the client gets `after` bytes (negative: all but so many), then the end."""
    ANSWER = "answer"
    """A request is read and not passed on; the client gets `answer`, and then the end of the connection."""
    TRICKLE = "trickle"
    """An answer is passed on byte by byte, one in each `seconds`."""


@dataclass(slots=True)
class _Plan:
    fault: Fault
    after: int
    seconds: float
    rate: int
    times: int
    only: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class _Head:
    """The first line and headers of a message, as they were sent and as they are understood."""

    raw: bytes
    first: bytes
    headers: dict[bytes, bytes]

    @property
    def status(self) -> int:
        return int(self.first.split()[1])

    @property
    def is_last(self) -> bool:
        """Whether the connection ends after it."""
        return self.headers.get(b"connection", b"").lower() == b"close"


class FaultProxy:
    """A proxy in a thread of its own: `with FaultProxy("127.0.0.1", port) as proxy: ... proxy.port ...`.

    It keeps its port for its whole life, also while it refuses connections. All methods may be called in any thread.
    """

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self._upstream = upstream_host, upstream_port
        self._plan: _Plan | None = None
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._unanswered: list[_Request] = []
        self._clients: dict[asyncio.StreamWriter, bool] = {}  # and whether it idles
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        # Bound and never listening, it holds the port while nothing listens there.
        self._place = _bound("127.0.0.1", 0)
        self.port: int = self._place.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it answers, as a base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def counts(self) -> dict[str, int]:
        """How many connections and requests there were, and how many faults of each kind."""
        with self._lock:
            return dict(self._counts)

    @property
    def unheard(self) -> int:
        """How many requests the server answered whole, of which the client did not get the whole answer."""
        return self.counts.get("unheard", 0)

    def unanswered(self, text: bytes = b"") -> int:
        """How many requests with this text were passed on whole and are not answered to the client yet."""
        with self._lock:
            return sum(text in request.head.first or text in request.begun for request in self._unanswered)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_PATIENCE)
            self._loop.close()
            self._place.close()

    def set(
        self,
        fault: Fault,
        *,
        after: int = 0,
        seconds: float = 0.0,
        rate: int = 0,
        times: int = 0,
        only: bytes = b"",
        answer: bytes = b"",
    ) -> None:
        """From now on do this, and nothing that was set before.

        `times`: so many times and no more (0: without end). `only`: to requests with this text in their first line or
        the beginning of their body.
        """
        with self._lock:
            self._plan = _Plan(fault, after, seconds, rate, times or -1, only, answer)
        if fault is Fault.REFUSE:
            self._run(self._refuse())
            self._count(fault)
        else:
            self._run(self._listen())
        if fault is Fault.CLOSE_IDLE:
            self._run(self._close_idle())

    def clear(self) -> None:
        """From now on break nothing. What already waits for an answer that is withheld goes on waiting."""
        with self._lock:
            self._plan = None
        self._run(self._listen())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def _count(self, kind: str) -> None:
        with self._lock:
            self._counts[kind] += 1

    def _take(self, fits: Callable[[_Plan], bool]) -> _Plan | None:
        """The fault to inject now, if it fits here; counted."""
        with self._lock:
            plan = self._plan
            if plan is None or plan.times == 0 or not fits(plan):
                return None
            plan.times -= plan.times > 0
            self._counts[plan.fault] += 1
            return plan

    async def _listen(self) -> None:
        if self._server is None:
            listening = _bound("127.0.0.1", self.port)
            self._server = await asyncio.start_server(self._accept, sock=listening, limit=_PIECE)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for client in list(self._clients):
            _reset(client)

    async def _close_idle(self) -> None:
        for client, idles in list(self._clients.items()):
            if idles:
                self._count(Fault.CLOSE_IDLE)
                client.close()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await asyncio.sleep(0)  # what was closed is closed in the loop's next round

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._clients[writer] = True
        self._count("connections")
        try:
            if len(self._clients) > _MOST_CONNECTIONS or self._take(lambda plan: plan.fault is Fault.RESET):
                _reset(writer)
            else:
                await self._serve(reader, writer)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            _reset(writer)
        except asyncio.CancelledError:
            _reset(writer)  # the proxy ends; a task of asyncio's that is cancelled would log it
        finally:
            self._clients.pop(writer, None)
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one request after the other, until one side ends the connection."""
        client = _Client(reader, writer)
        is_kept = False
        while True:
            self._clients[writer] = True
            head = await _read_head(reader)
            if head is None:
                return
            self._clients[writer] = False
            self._count("requests")
            body = _body(reader, head)
            begun = await anext(body, b"")
            plan = self._take_for(head, begun, is_kept=is_kept)
            fault = plan.fault if plan is not None else None
            if fault is Fault.DEAD_IDLE:
                _reset(writer)
                return
            if fault is Fault.BLACKHOLE:
                await client.until_gone()
                return
            if plan is not None and fault is Fault.DELAY:
                await asyncio.sleep(plan.seconds)
            if plan is not None and fault is Fault.ANSWER:
                async for _ in body:
                    pass
                writer.write(plan.answer)
                await writer.drain()
                return
            if not await self._exchange(_Request(head, begun, body), client, plan):
                return
            if self._take(lambda plan: plan.fault is Fault.CLOSE_IDLE):
                return
            is_kept = True

    def _take_for(self, head: _Head, begun: bytes, *, is_kept: bool) -> _Plan | None:
        def fits(plan: _Plan) -> bool:
            if plan.fault in {Fault.REFUSE, Fault.RESET, Fault.CLOSE_IDLE}:
                return False
            if plan.fault is Fault.DEAD_IDLE and not is_kept:
                return False
            return plan.only in head.first or plan.only in begun

        return self._take(fits)

    async def _exchange(self, request: _Request, client: _Client, plan: _Plan | None) -> bool:
        """Pass a request on and its answer back; whether the connection may be used again."""
        upstream, to_upstream = await asyncio.open_connection(*self._upstream, limit=_PIECE)
        try:
            to_upstream.write(request.head.raw)
            if plan is not None and plan.fault is Fault.CUT_REQUEST:
                await _pass_on(request.pieces(plan.after), to_upstream)
                _reset(to_upstream)
                _reset(client.writer)
                return False
            rate = plan.rate if plan is not None and plan.fault is Fault.THROTTLE else 0
            # A server may answer, and end the connection, before it has read all of a request that it refuses.
            sending = asyncio.create_task(self._send(request, to_upstream, rate))
            try:
                return await self._answer(request, upstream, client, plan)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                with self._lock:
                    self._unanswered = [each for each in self._unanswered if each is not request]
        finally:
            to_upstream.close()

    async def _send(self, request: _Request, upstream: asyncio.StreamWriter, rate: int) -> None:
        await _pass_on(request.pieces(), upstream, rate)
        with self._lock:
            self._unanswered.append(request)

    async def _answer(
        self, request: _Request, upstream: asyncio.StreamReader, client: _Client, plan: _Plan | None
    ) -> bool:
        answer = _Answer(client, plan)
        head = None
        while head is None or 100 <= head.status < 200:
            head = await _read_head(upstream)
            if head is None:  # the server went away without an answer
                _reset(client.writer)
                return False
            await answer.give(head.raw)
        is_empty = request.head.first.startswith(b"HEAD ") or head.status in {204, 304}
        if not is_empty:
            async for piece in _body(upstream, head, is_answer=True):
                await answer.give(piece)
        if not answer.is_heard():
            self._count("unheard")
        if plan is not None and plan.fault is Fault.WITHHOLD:
            await client.until_gone()
        elif plan is not None and plan.fault is Fault.DROP:
            _reset(client.writer)
        ends = answer.is_broken or request.head.is_last or head.is_last
        return not (ends or _ends_with_connection(head, is_empty=is_empty))


@dataclass(frozen=True, slots=True)
class _Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def has_left(self) -> bool:
        return self.reader.at_eof() or self.reader.exception() is not None or self.writer.is_closing()

    async def until_gone(self) -> None:
        """Wait until it gives up, and read nothing."""
        while not self.has_left:  # noqa: ASYNC110 - a stream tells of its end only to who reads it
            await asyncio.sleep(_LOOK_EVERY)


@dataclass(frozen=True, slots=True)
class _Request:
    head: _Head
    begun: bytes
    body: AsyncIterator[bytes]

    async def pieces(self, most: int = -1) -> AsyncIterator[bytes]:
        """The body, or its first bytes."""
        left = most
        piece = self.begun
        while piece and left:
            if left > 0:
                piece = piece[:left]
                left -= len(piece)
            yield piece
            piece = await anext(self.body, b"") if left else b""


class _Answer:
    """The way of one answer to the client: as a whole, in part, slowly or not at all."""

    def __init__(self, client: _Client, plan: _Plan | None) -> None:
        self._client = client
        self._plan = plan if plan is not None and plan.fault in _BREAKS_ANSWERS else None
        self._given = 0
        self._held = b""
        self.is_broken = self._plan is not None and self._plan.fault is not Fault.TRICKLE

    async def give(self, piece: bytes) -> None:
        plan = self._plan
        if plan is None:
            await self._write(piece)
        elif plan.fault is Fault.TRICKLE:
            for byte in piece:
                await self._write(bytes([byte]))
                await asyncio.sleep(plan.seconds)
        elif plan.fault is Fault.CUT_RESPONSE and plan.after >= 0:
            await self._write(piece[: max(plan.after - self._given, 0)])
            self._given += len(piece)
        elif plan.fault is Fault.CUT_RESPONSE:
            self._held += piece
            await self._write(self._held[: plan.after])
            self._held = self._held[plan.after :]

    def is_heard(self) -> bool:
        """Whether all of it went to a client that is still there."""
        plan = self._plan
        was_short = plan is not None and plan.fault is Fault.CUT_RESPONSE and self._given <= plan.after
        return (was_short or not self.is_broken) and not self._client.has_left

    async def _write(self, data: bytes) -> None:
        # The server's answer is read to its end, whether or not the client still waits for it.
        if data and not self._client.has_left:
            with contextlib.suppress(OSError):
                self._client.writer.write(data)
                await self._client.writer.drain()


_BREAKS_ANSWERS: Final = {Fault.WITHHOLD, Fault.DROP, Fault.CUT_RESPONSE, Fault.TRICKLE}


async def _read_head(reader: asyncio.StreamReader) -> _Head | None:
    """The head of the next message; None if the connection ended before it began."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = raw[:-4].split(b"\r\n")
    parts = (line.partition(b":") for line in lines)
    return _Head(raw, first, {name.strip().lower(): value.strip() for name, _, value in parts})


def _ends_with_connection(head: _Head, *, is_empty: bool = False) -> bool:
    return not (is_empty or b"content-length" in head.headers or b"transfer-encoding" in head.headers)


async def _body(reader: asyncio.StreamReader, head: _Head, *, is_answer: bool = False) -> AsyncIterator[bytes]:
    """The body of a message as it is on the wire, in pieces; EOFError if it is cut off."""
    if head.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        size = -1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line
            async for piece in _exactly(reader, size):
                yield piece
            if size:
                yield await reader.readexactly(2)
        line = b""
        while line != b"\r\n":
            line = await reader.readuntil(b"\r\n")
            yield line
    elif is_answer and _ends_with_connection(head):
        while piece := await reader.read(_PIECE):
            yield piece
    else:
        async for piece in _exactly(reader, int(head.headers.get(b"content-length", b"0"))):
            yield piece


async def _exactly(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await reader.read(min(size, _PIECE))
        if not piece:
            raise EOFError
        size -= len(piece)
        yield piece


async def _pass_on(pieces: AsyncIterator[bytes], writer: asyncio.StreamWriter, rate: int = 0) -> None:
    async for piece in pieces:
        step = max(rate // 20, 1) if rate else len(piece)
        for start in range(0, len(piece), step):
            part = piece[start : start + step]
            writer.write(part)
            await writer.drain()
            if rate:
                await asyncio.sleep(len(part) / rate)
    await writer.drain()


def _bound(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((host, port))
    return made


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crash does: the other side meets a reset, not an end."""
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.is_closing():
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()
