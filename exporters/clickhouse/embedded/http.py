"""The HTTP protocol of ClickHouse's server, on aiohttp: routes, and the way of one request.

https://clickhouse.com/docs/interfaces/http
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import hdrs, web

from exporters.clickhouse.embedded import hello
from exporters.clickhouse.embedded.errors import STD_EXCEPTION, ClickHouseError
from exporters.clickhouse.embedded.request import Options, new_source, read_query
from exporters.clickhouse.embedded.response import TEXT, Responder
from exporters.clickhouse.embedded.users import Credentials

if TYPE_CHECKING:
    from exporters.clickhouse.embedded.engine import Engine
    from exporters.clickhouse.embedded.users import Users

_FORM_LIMIT: Final = 64 << 20
_NO_HANDLER: Final = "There is no handle {path}\n\nUse / or /ping for health checks.\n"
_HELLO: Final = "Ok.\n"

log = structlog.get_logger()


def create_app(engine: Engine, users: Users) -> web.Application:
    """The application that answers for an engine."""
    handlers = _Handlers(engine, users)
    app = web.Application(client_max_size=_FORM_LIMIT)
    app.router.add_get("/ping", handlers.ping)
    app.router.add_get("/replicas_status", handlers.replicas_status)
    app.router.add_get("/", handlers.get)
    app.router.add_post("/", handlers.answer)
    app.router.add_route("*", "/{path:.*}", handlers.unknown)
    return app


class _Handlers:
    def __init__(self, engine: Engine, users: Users) -> None:
        self._engine = engine
        self._users = users

    async def ping(self, _: web.Request) -> web.Response:
        return web.Response(text=_HELLO, headers={hdrs.CONTENT_TYPE: TEXT})

    async def replicas_status(self, request: web.Request) -> web.Response:
        """As of a server without replicas: whether the engine, and not only this process, answers."""
        await self._engine.check()
        return await self.ping(request)

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
        responder = Responder(request, self._engine.facts, query_id, options)
        try:
            return await self._result(request, options, responder, query_id)
        except ClickHouseError as error:
            return responder.error(error)
        except ConnectionError:
            raise  # the client went away
        except Exception as error:
            log.exception("clickhouse_request_failed", query_id=query_id)
            return responder.error(ClickHouseError(STD_EXCEPTION, f"{type(error).__name__}: {error}"))

    async def _result(
        self, request: web.Request, options: Options, responder: Responder, query_id: str
    ) -> web.StreamResponse:
        credentials = Credentials.of(request.headers, options.values)
        user = self._users.authenticate(credentials, request.headers)
        # Before the body is read: who may not come in costs nothing.
        async with self._engine.admitted(user, query_id, options.values) as admission:
            with new_source() as source:
                query = await read_query(
                    request, options, source, user=user, query_id=query_id, session=admission.session
                )
                if query.statement.text.strip() == hello.SQL and query.default_format == "Native":
                    return responder.hello(options.values.get("client_protocol_version", ""))
                return await responder.answer(await admission.run(query))
