"""Responses as ClickHouse's server writes them: headers, content types, compression, results and errors."""

from __future__ import annotations

import asyncio
import secrets
import socket
import string
from contextlib import aclosing
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from exporters.clickhouse.embedded import hello
from exporters.clickhouse.embedded.blocks import BlockEncoder, literal_block
from exporters.clickhouse.embedded.compression import choose_encoding, new_encoder
from exporters.clickhouse.embedded.errors import ClickHouseError
from exporters.clickhouse.embedded.query import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporters.clickhouse.embedded.compression import Encoder
    from exporters.clickhouse.embedded.engine import Facts
    from exporters.clickhouse.embedded.execution import Execution
    from exporters.clickhouse.embedded.request import Options

TEXT: Final = "text/plain; charset=UTF-8"
_WHOLE: Final = 1 << 20  # a result that ends within this size is answered whole, with its length and final counts
_WAITING: Final = 8 << 20  # of a result that waits for its end: in memory up to this size, then in a temporary file
_PIECE: Final = 1 << 18
_MOST_PROGRESS: Final = 50  # headers; clients take a hundred of all kinds
_SEND_TIMEOUT: Final = 30  # seconds; ClickHouse's http_send_timeout
_TAG_LENGTH: Final = 16


class Responder:
    """Writes the response to one request."""

    def __init__(self, request: web.Request, facts: Facts, query_id: str, options: Options) -> None:
        self._request = request
        self._facts = facts
        self._in_blocks = options.flag("compress")
        compress = options.flag("enable_http_compression", default=facts.http_compression) and not self._in_blocks
        self._encoding = choose_encoding(request.headers.get(hdrs.ACCEPT_ENCODING, "") if compress else "")
        self._waits = options.flag("wait_end_of_query") or options.flag("http_wait_end_of_query")
        self._tells_progress = options.flag("send_progress_in_http_headers")
        self._interval = options.milliseconds("http_headers_progress_interval_ms", 100) / 1e3
        self._headers: CIMultiDict[str] = CIMultiDict(
            {
                hdrs.CONTENT_TYPE: TEXT,
                "X-Content-Type-Options": "nosniff",
                "X-ClickHouse-Query-Id": _header_value(query_id),
                "X-ClickHouse-Server-Display-Name": socket.gethostname(),
                "X-ClickHouse-Timezone": facts.timezone,
            }
        )

    def error(self, error: ClickHouseError) -> web.Response:
        """The response that tells of an error; not compressed, so that any client can show it.

        With compress=1 it is a block, as ClickHouse's server has it: clients then read nothing else.
        """
        self._headers[hdrs.CONTENT_TYPE] = TEXT
        self._headers.popall(hdrs.CONTENT_ENCODING, None)
        self._headers["X-ClickHouse-Exception-Code"] = str(error.code)
        if error.status == 401:
            self._headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="ClickHouse server HTTP API"'
        body = (error.text(self._facts.version) + "\n").encode()
        if self._in_blocks:
            body = literal_block(body)
        return web.Response(status=error.status, body=body, headers=self._headers)

    def hello(self, client_protocol_version: str) -> web.Response:
        """The response to the first query of clickhouse-go."""
        self._headers["X-ClickHouse-Format"] = "Native"
        self._headers[hdrs.CONTENT_TYPE] = self._facts.content_types["native"]
        body = hello.answer(socket.gethostname(), self._facts.version, self._facts.timezone, client_protocol_version)
        if self._is_encoded:
            encoder = self._new_encoder()
            body = encoder.compress(body) + encoder.flush()
        return web.Response(body=body, headers=self._headers)

    async def answer(self, execution: Execution) -> web.StreamResponse:
        """Send a result as it is made; a short one whole. Raises ClickHouseError while nothing is sent yet."""
        self._headers["X-ClickHouse-Format"] = _header_value(execution.output_format)
        self._headers[hdrs.CONTENT_TYPE] = self._facts.content_types.get(execution.output_format.lower(), TEXT)
        telling = asyncio.create_task(self._gather_progress(execution)) if self._tells_progress else None
        try:
            async with aclosing(execution.pieces()) as pieces:
                return (
                    await self._after_waiting(execution, pieces)
                    if self._waits
                    else await self._early(execution, pieces)
                )
        finally:
            if telling is not None:
                telling.cancel()

    async def _early(self, execution: Execution, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
        begun = bytearray()
        async for piece in pieces:
            begun += piece
            if len(begun) > _WHOLE:
                progress = await execution.progress() or Progress()
                self._headers["X-ClickHouse-Summary"] = progress.header()
                return await self._send(bytes(begun), pieces)
        await self._summarize(execution)
        data = bytes(begun)
        if data and self._is_encoded:
            encoder = self._new_encoder()
            data = await asyncio.to_thread(encoder.compress, data) + encoder.flush()
        return web.Response(body=data, headers=self._headers)

    async def _after_waiting(self, execution: Execution, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
        """For wait_end_of_query: the status tells of errors at any time, and the counts are the final ones."""
        encoder = self._new_encoder()
        with SpooledTemporaryFile(max_size=_WAITING) as waiting:
            async for piece in pieces:
                waiting.write(await asyncio.to_thread(encoder.compress, piece))
            waiting.write(encoder.flush())
            await self._summarize(execution)
            response = web.StreamResponse(headers=self._headers)
            response.content_length = waiting.tell()
            await response.prepare(self._request)
            waiting.seek(0)
            while not self._is_head and (piece := await asyncio.to_thread(waiting.read, _PIECE)):
                await self._write(response, piece)
            return response

    async def _summarize(self, execution: Execution) -> None:
        self._headers["X-ClickHouse-Summary"] = (await execution.result()).progress.header()

    async def _send(self, begun: bytes, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
        # The status is sent with the first piece; an error after it is told in the body, marked with a tag that
        # no data can hold by accident, and the response is left without its end, as ClickHouse does since 25.11.
        tag = "".join(secrets.choice(string.ascii_lowercase) for _ in range(_TAG_LENGTH))
        self._headers["X-ClickHouse-Exception-Tag"] = tag
        encoder = self._new_encoder()
        response = web.StreamResponse(headers=self._headers)
        await response.prepare(self._request)
        if self._is_head:
            return response
        await self._write(response, await asyncio.to_thread(encoder.compress, begun))
        try:
            async for piece in pieces:
                await self._write(response, await asyncio.to_thread(encoder.compress, piece))
        except ClickHouseError as error:
            message = _tagged(error.text(self._facts.version), tag)
            if self._in_blocks:
                await self._write(response, encoder.flush() + literal_block(message))
            else:
                await self._write(response, encoder.compress(message) + encoder.flush())
            if self._request.transport is not None:
                self._request.transport.close()
            return response
        await self._write(response, encoder.flush())
        return response

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        """Send a piece; ConnectionError if the client does not take it in time, so that it holds no thread for ever."""
        try:
            async with asyncio.timeout(_SEND_TIMEOUT):
                await response.write(data)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionError("the client does not read its result") from None

    @property
    def _is_head(self) -> bool:
        return self._request.method == "HEAD"

    @property
    def _is_encoded(self) -> bool:
        return self._in_blocks or self._encoding is not None

    def _new_encoder(self) -> Encoder:
        if self._encoding is not None:
            self._headers[hdrs.CONTENT_ENCODING] = self._encoding
        return BlockEncoder() if self._in_blocks else new_encoder(self._encoding)

    async def _gather_progress(self, execution: Execution) -> None:
        for _ in range(_MOST_PROGRESS):
            if not execution.is_running:
                return
            await asyncio.sleep(self._interval)
            if progress := await execution.progress():
                self._headers.add("X-ClickHouse-Progress", progress.header())


def _tagged(text: str, tag: str) -> bytes:
    message = text.encode() + b"\n"
    mark = f"{len(message)} {tag}\r\n__exception__\r\n"
    return f"\r\n__exception__\r\n{tag}\r\n".encode() + message + mark.encode()


def _header_value(text: str) -> str:
    # Given by the client and sent back, so it must not end a header line.
    return "".join(character if character.isprintable() and character.isascii() else "?" for character in text)
