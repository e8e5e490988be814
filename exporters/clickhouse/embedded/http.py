"""The HTTP protocol of ClickHouse's server, on aiohttp: routes, and the way of one request.

https://clickhouse.com/docs/interfaces/http
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import hdrs, web

from exporters.clickhouse.embedded.errors import STD_EXCEPTION, ClickHouseError
from exporters.clickhouse.embedded.request import Options, new_source, read_query
from exporters.clickhouse.embedded.response import TEXT, Responder

if TYPE_CHECKING:
    from exporters.clickhouse.embedded.engine import Engine

_FORM_LIMIT: Final = 64 << 20
_NO_HANDLER: Final = "There is no handle {path}\n\nUse / or /ping for health checks.\n"
_HELLO: Final = "Ok.\n"

log = structlog.get_logger()


def create_app(engine: Engine) -> web.Application:
    """The application that answers for an engine."""
    handlers = _Handlers(engine)
    app = web.Application(client_max_size=_FORM_LIMIT)
    for path in ("/ping", "/replicas_status"):
        app.router.add_get(path, handlers.ping)
    app.router.add_get("/", handlers.get)
    app.router.add_post("/", handlers.answer)
    app.router.add_route("*", "/{path:.*}", handlers.unknown)
    return app


class _Handlers:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ping(self, _: web.Request) -> web.Response:
        return web.Response(text=_HELLO, headers={hdrs.CONTENT_TYPE: TEXT})

    async def unknown(self, request: web.Request) -> web.Response:
        text = _NO_HANDLER.format(path=request.path)
        return web.Response(status=404, text=text, headers={hdrs.CONTENT_TYPE: TEXT})

    async def get(self, request: web.Request) -> web.StreamResponse:
        if not Options.of(request).query:
            return await self.ping(request)
        return await self.answer(request)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Run the query of a request; whatever goes wrong becomes an answer in ClickHouse's form."""
        options = Options.of(request)
        query_id = options.values.get("query_id") or str(uuid.uuid4())
        compress = options.flag("enable_http_compression", default=self._engine.facts.http_compression)
        responder = Responder(request, self._engine.facts, _header_value(query_id), compress=compress)
        try:
            return await self._result(request, options, responder)
        except ClickHouseError as error:
            return responder.error(error)
        except ConnectionError:
            raise  # the client went away
        except Exception as error:
            log.exception("clickhouse_request_failed", query_id=query_id)
            return responder.error(ClickHouseError(STD_EXCEPTION, f"{type(error).__name__}: {error}"))

    async def _result(self, request: web.Request, options: Options, responder: Responder) -> web.StreamResponse:
        with new_source() as source:
            query = await read_query(request, options, source)
            responder.use_format(_header_value(query.output_format))
            stream = await self._engine.stream(query) if query.in_pieces else None
            if stream is None:
                return await responder.whole(await self._engine.run(query))
            try:
                return await responder.pieces(self._engine, stream)
            finally:
                await self._engine.close_stream(stream)


def _header_value(text: str) -> str:
    # Given by the client and sent back, so it must not end a header line.
    return "".join(character if character.isprintable() and character.isascii() else "?" for character in text)
