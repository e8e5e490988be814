"""Responses as ClickHouse's server writes them: headers, content types, compression, results and errors."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import string
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from exporters.clickhouse.embedded.compression import choose_encoding, new_encoder
from exporters.clickhouse.embedded.errors import ClickHouseError

if TYPE_CHECKING:
    from exporters.clickhouse.embedded.connections import Stream
    from exporters.clickhouse.embedded.engine import Engine, Facts
    from exporters.clickhouse.embedded.query import Progress, Result

TEXT: Final = "text/plain; charset=UTF-8"
_WHOLE: Final = 1 << 20  # a result that ends within this size is answered whole, with its length and final counts
_TAG_LENGTH: Final = 16


class Responder:
    """Writes the response to one request."""

    def __init__(self, request: web.Request, facts: Facts, query_id: str, *, compress: bool) -> None:
        self._request = request
        self._facts = facts
        accepted = request.headers.get(hdrs.ACCEPT_ENCODING, "") if compress else ""
        self._encoding = choose_encoding(accepted)
        self._headers = {
            hdrs.CONTENT_TYPE: TEXT,
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Server-Display-Name": socket.gethostname(),
            "X-ClickHouse-Timezone": facts.timezone,
        }

    def use_format(self, output_format: str) -> None:
        """Name the format of the result, from here on."""
        self._headers["X-ClickHouse-Format"] = output_format
        self._headers[hdrs.CONTENT_TYPE] = self._facts.content_types.get(output_format.lower(), TEXT)

    async def whole(self, result: Result) -> web.Response:
        """The response that holds a whole result."""
        headers = self._headers | _summary(result.progress)
        data = result.data
        if self._encoding is not None and data:
            encoder = new_encoder(self._encoding)
            data = await asyncio.to_thread(encoder.compress, data) + encoder.flush()
            headers[hdrs.CONTENT_ENCODING] = self._encoding
        return web.Response(body=data, headers=headers)

    def error(self, error: ClickHouseError) -> web.Response:
        """The response that tells of an error; never compressed, so that any client can show it."""
        headers = self._headers | {hdrs.CONTENT_TYPE: TEXT, "X-ClickHouse-Exception-Code": str(error.code)}
        return web.Response(status=error.status, text=error.text(self._facts.version) + "\n", headers=headers)

    async def pieces(self, engine: Engine, stream: Stream) -> web.StreamResponse:
        """Send a result as it is read; a short one whole. Raises ClickHouseError while nothing is sent yet."""
        begun = bytearray()
        while (piece := await engine.fetch(stream)) is not None:
            begun += piece
            if len(begun) > _WHOLE:
                return await self._send(engine, stream, bytes(begun))
        return await self.whole(stream.result(bytes(begun)))

    async def _send(self, engine: Engine, stream: Stream, begun: bytes) -> web.StreamResponse:
        # The status is sent with the first piece; an error after it is told in the body, marked with a tag that
        # no data can hold by accident, and the response is left without its end, as ClickHouse does since 25.11.
        tag = "".join(secrets.choice(string.ascii_lowercase) for _ in range(_TAG_LENGTH))
        response = web.StreamResponse(
            headers=self._headers | _summary(stream.progress) | {"X-ClickHouse-Exception-Tag": tag}
        )
        if self._encoding is not None:
            response.headers[hdrs.CONTENT_ENCODING] = self._encoding
        encoder = new_encoder(self._encoding)
        await response.prepare(self._request)
        piece: bytes | None = begun
        try:
            while piece is not None:
                await response.write(await asyncio.to_thread(encoder.compress, piece))
                piece = await engine.fetch(stream)
        except ClickHouseError as error:
            message = _tagged(error.text(self._facts.version), tag)
            await response.write(encoder.compress(message) + encoder.flush())
            if self._request.transport is not None:
                self._request.transport.close()
            return response
        await response.write(encoder.flush())
        return response


def _summary(progress: Progress) -> dict[str, str]:
    return {"X-ClickHouse-Summary": json.dumps(progress.summary(), separators=(",", ":"))}


def _tagged(text: str, tag: str) -> bytes:
    message = text.encode() + b"\n"
    mark = f"{len(message)} {tag}\r\n__exception__\r\n"
    return f"\r\n__exception__\r\n{tag}\r\n".encode() + message + mark.encode()
