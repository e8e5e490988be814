"""The operations port: /healthz, /readyz, /metrics and /status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable


class Operations:
    """Answers operators and their probes.

    `metrics` gives the page of /metrics, `status` what /status shows; it is ready when "ready" is true there.
    """

    def __init__(self, metrics: Callable[[], Awaitable[bytes]], status: Callable[[], dict[str, Any]]) -> None:
        self._metrics = metrics
        self._status = status
        self._runner: web.AppRunner | None = None

    async def start(self, listener: socket.socket) -> None:
        """Begin to answer."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics_page),
                web.get("/status", self._status_page),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Stop answering."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self._status()["ready"]:
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready: Tollgate is starting or stopping\n")

    async def _metrics_page(self, _: web.Request) -> web.Response:
        return web.Response(body=await self._metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _status_page(self, _: web.Request) -> web.Response:
        return web.Response(
            body=orjson.dumps(self._status(), option=orjson.OPT_INDENT_2), content_type="application/json"
        )
