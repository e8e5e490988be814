"""Bodies: read under a limit, before and after decompression, and never more than the limit held."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import Admission, Ticket
from gateway.receivers.body import decompress, read_body, require_size
from gateway.receivers.status import TooLargeError
from gateway.spool.room import Room
from gateway.telemetry.metrics import Metrics
from otlp.errors import PermanentError, RetryableError

LIMIT = 1000
MIB = 1 << 20
TOO_LARGE = (
    "The request is larger than 1000 bytes, which is this gateway's limit before and after decompression; "
    "send smaller batches, or raise max_request_body_size."
)


def stream(*chunks: bytes, ended: bool = True) -> StreamReader:
    """A body that arrives in these chunks."""
    loop = asyncio.get_running_loop()
    reader = StreamReader(BaseProtocol(loop), limit=2**16, loop=loop)
    for chunk in chunks:
        reader.feed_data(chunk)
    if ended:
        reader.feed_eof()
    return reader


def malformed(body: bytes, encoding: str = "gzip", limit: int = LIMIT) -> str:
    """What the sender of this body is told."""
    with pytest.raises(PermanentError) as caught:
        decompress(body, encoding, limit)
    assert caught.value.reason == "malformed"
    return str(caught.value)


@pytest.fixture
def ticket() -> Ticket:
    """The ticket of a request that did not say its size, with room for 2000 bytes beside 500 of another request."""
    room = Room(1 << 40, 0, free_disk=lambda: 1 << 40)
    admission = Admission(capacity=2500, memory_limit=1 << 40, room=room, metrics=Metrics())
    admission.admit(500)
    return admission.admit(0)


async def test_a_body_is_read_whole(ticket: Ticket) -> None:
    """A body comes out as it was sent, and its ticket is as large as it."""
    assert await read_body(stream(b"abc", b"", b"def"), LIMIT, ticket) == b"abcdef"
    assert ticket.size == 6
    assert await read_body(stream(), LIMIT, ticket) == b""


async def test_the_limit_is_the_largest_body_there_may_be(ticket: Ticket) -> None:
    """A body of exactly the limit is taken, and one byte more is not, declared or not."""
    require_size(None, LIMIT)
    require_size(LIMIT, LIMIT)
    assert len(await read_body(stream(b"x" * 600, b"x" * 400), LIMIT, ticket)) == LIMIT
    with pytest.raises(TooLargeError) as caught:
        require_size(LIMIT + 1, LIMIT)
    assert str(caught.value) == TOO_LARGE
    with pytest.raises(TooLargeError) as caught:
        await read_body(stream(b"x" * 600, b"x" * 401), LIMIT, ticket)
    assert str(caught.value) == TOO_LARGE


async def test_a_body_without_an_end_is_refused_at_the_limit(ticket: Ticket) -> None:
    """A chunked body is refused as soon as it is over the limit, not when its sender stops."""
    with pytest.raises(TooLargeError):
        await asyncio.wait_for(read_body(stream(b"x" * (LIMIT + 1), ended=False), LIMIT, ticket), 5)


async def test_a_body_for_which_there_is_no_room_is_refused_while_it_is_read(ticket: Ticket) -> None:
    """A sender that does not say how much it sends is told to try again when it is more than there is room for."""
    with pytest.raises(RetryableError):
        await read_body(stream(b"x" * 1500, b"x" * 501), 10_000, ticket)


async def test_a_sender_that_breaks_off_is_an_error(ticket: Ticket) -> None:
    """Half a body is never taken for a whole one."""
    reader = stream(b"half", ended=False)
    reader.set_exception(ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError):
        await read_body(reader, LIMIT, ticket)


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_a_body_without_encoding_is_left_alone(encoding: str) -> None:
    """No encoding, and identity in any case, leave the body as it is."""
    assert decompress(b"\x1f\x8b not gzip", encoding, LIMIT) == b"\x1f\x8b not gzip"


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=3), st.sampled_from(["gzip", "x-gzip", " GZip "]))
def test_gzip_comes_out_as_it_went_in(members: list[bytes], encoding: str) -> None:
    """One member or several give their contents one after the other, as RFC 1952 has it."""
    body = b"".join(gzip.compress(member) for member in members)
    assert decompress(body, encoding, LIMIT) == b"".join(members)


@pytest.mark.parametrize("sizes", [(LIMIT,), (LIMIT, 0), (600, 400), (1,) * 100])
def test_the_limit_counts_what_comes_out(sizes: tuple[int, ...]) -> None:
    """All members together may be as large as the limit, and not a byte larger."""
    body = b"".join(gzip.compress(bytes(size)) for size in sizes)
    assert len(decompress(body, "gzip", sum(sizes))) == sum(sizes)
    with pytest.raises(TooLargeError):
        decompress(body, "gzip", sum(sizes) - 1)


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    """A small body that would become a large one is refused before it is."""
    bomb = gzip.compress(bytes(64 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            decompress(bomb, "gzip", MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB


def test_members_are_limited() -> None:
    """A hundred members are taken; more, each of which costs a copy of the rest, are refused."""
    assert decompress(gzip.compress(b"x") * 100, "gzip", LIMIT) == b"x" * 100
    assert malformed(gzip.compress(b"x") * 101) == "The gzip body has more than 100 members."
    assert malformed(gzip.compress(b"") * 100_000) == "The gzip body has more than 100 members."


@given(st.data())
def test_gzip_that_is_cut_short_is_malformed(data: st.DataObject) -> None:
    """However much is missing at the end, nothing of the body is taken."""
    body = gzip.compress(b"spans and spans")
    length = data.draw(st.integers(1, len(body) - 1))
    assert malformed(body[:length]) == "The gzip body is cut short."


@given(st.integers(0, 10), st.binary(min_size=1, max_size=200))
def test_whatever_arrives_as_gzip_is_answered(keep: int, junk: bytes) -> None:
    """Bytes that are not gzip, from the first one or later, are malformed or too large, and no other error."""
    body = gzip.compress(b"spans and spans")[:keep] + junk
    try:
        decompress(body, "gzip", LIMIT)
    except (PermanentError, TooLargeError) as error:
        assert str(error)  # noqa: PT017 - chance may make it valid, which is no error
    with pytest.raises(PermanentError):
        decompress(b"\x00" + body, "gzip", LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        b"spans",
        zlib.compress(b"spans"),
        gzip.compress(b"spans")[:-8] + bytes(8),
        gzip.compress(b"spans") + b"junk",
        b'{"resourceSpans":[]}',
    ],
)
def test_what_is_not_gzip_is_said_to_be_so(body: bytes) -> None:
    """Other formats, a wrong checksum and junk behind the end are refused."""
    assert malformed(body) == "The body is not valid gzip."


@pytest.mark.parametrize("encoding", ["zstd", "deflate", "br", "gzip, gzip", "\udc80", "x" * 1000])
def test_other_encodings_are_refused_with_what_works(encoding: str) -> None:
    """The answer names the encoding, made safe to print and not longer than needed, and what to send instead."""
    message = malformed(b"", encoding)
    assert message == f"The Content-Encoding {encoding[:50]!r} is not supported; send gzip or no encoding."
    assert message.isprintable()
