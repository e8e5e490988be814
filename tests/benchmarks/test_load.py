"""A load sends what it says, counts each answer, and ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from benchmarks.generator import Traffic
from benchmarks.load import Load, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def server(refuse_every: int = 0) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers every request, some with 503: its address, and the heads that it was sent."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            heads.append(head)
            status = b"503 Later" if refuse_every and len(heads) % refuse_every == 0 else b"200 OK"
            writer.write(b"HTTP/1.1 %s\r\ncontent-length: 2\r\n\r\n{}" % status)
            if reader.at_eof():
                break
        writer.close()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    listener = await asyncio.start_server(until_closed, "127.0.0.1", 0)
    async with listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}", heads


async def test_a_rate_is_so_many_requests() -> None:
    """At 200 a second, half a second is a hundred requests, each counted with its spans and its latency."""
    async with server() as (address, heads):
        load = Load(address, "a-key", Traffic(), "deliveries", rate=200, seconds=0.5, connections=4)
        sent = await asyncio.to_thread(send, load)
    assert sent.acknowledged == len(heads) == len(sent.latencies) == 100
    assert sent.spans == 300
    assert sent.seconds > 0.45
    assert sent.latency(0) <= sent.latency(50) <= sent.latency(100)
    assert all(b"Authorization: Bearer a-key\r\n" in head for head in heads)


async def test_what_is_refused_is_not_counted_as_sent() -> None:
    """A refused request's spans need not be stored."""
    async with server(refuse_every=5) as (address, _):
        load = Load(address, "", Traffic(), "deliveries", rate=200, seconds=0.5, connections=4)
        sent = await asyncio.to_thread(send, load)
    assert (sent.acknowledged, sent.refused, sent.spans) == (80, 20, 240)


async def test_without_a_rate_it_ends_with_the_time() -> None:
    """As many requests as are answered, in the form that is asked for, and no longer than asked."""
    async with server() as (address, heads):
        load = Load(address, "", Traffic(), "protobuf", rate=None, seconds=0.2, connections=2)
        sent = await asyncio.to_thread(send, load)
    assert sent.spans == 100 * len(heads) > 0
    assert sent.seconds < 5
    assert b"application/x-protobuf" in heads[0]


async def test_a_server_that_goes_away_is_an_error() -> None:
    """A measurement of half a load is none."""
    async with server() as (address, _):
        pass
    load = Load(address, "", Traffic(), "json", rate=None, seconds=0.2, connections=1)
    with pytest.raises(OSError, match="Connect"):
        await asyncio.to_thread(send, load)
