"""Reads HTTP bodies under a size limit, before and after decompression."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

from gateway.receivers.status import TooLargeError
from otlp.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from aiohttp import StreamReader

    from gateway.admission import Ticket

_GZIP = 16 + zlib.MAX_WBITS
_MAX_MEMBERS = 100
_SILENCE = 60.0


def require_size(declared_length: int | None, limit: int) -> None:
    """TooLargeError if a body says of itself that it is over `limit` bytes."""
    if declared_length is not None and declared_length > limit:
        raise TooLargeError(_too_large(limit))


async def read_body(stream: StreamReader, limit: int, ticket: Ticket) -> bytes:
    """The body as it was sent; TooLargeError as soon as it is over `limit` bytes, RetryableError if over its ticket."""
    chunks, size = [], 0
    while chunk := await _next(stream):
        size += len(chunk)
        if size > limit:
            raise TooLargeError(_too_large(limit))
        if size > ticket.size:
            ticket.resize(size)
        chunks.append(chunk)
    return b"".join(chunks)


async def _next(stream: StreamReader) -> bytes:
    """The next piece of a body, empty at its end; a sender that falls silent is not waited for for ever."""
    try:
        async with asyncio.timeout(_SILENCE):
            return await stream.readany()
    except TimeoutError:
        raise RetryableError(f"The body did not go on for {_SILENCE:g} s; send it again.", delay=1) from None


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding; TooLargeError if it is over `limit` bytes then."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _gunzip(body, limit)
        case other:
            raise PermanentError(
                f"The Content-Encoding {other[:50]!r} is not supported; send gzip or no encoding.", reason="malformed"
            )


def _gunzip(body: bytes, limit: int) -> bytes:
    """All members of a gzip file, one after the other; each costs a copy of what follows it, so they are limited."""
    parts: list[bytes] = []
    size = 0
    while body:
        if len(parts) == _MAX_MEMBERS:
            raise PermanentError(f"The gzip body has more than {_MAX_MEMBERS} members.", reason="malformed")
        member = zlib.decompressobj(_GZIP)
        try:
            part = member.decompress(body, limit + 1 - size)
        except zlib.error as error:
            raise PermanentError("The body is not valid gzip.", reason="malformed") from error
        size += len(part)
        if size > limit:
            raise TooLargeError(_too_large(limit))
        if not member.eof:
            raise PermanentError("The gzip body is cut short.", reason="malformed")
        parts.append(part)
        body = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> str:
    return (
        f"The request is larger than {limit} bytes, which is this gateway's limit before and after decompression; "
        "send smaller batches, or raise max_request_body_size."
    )
