"""The embedded ClickHouse as its owner sees it: one child process that is kept running on its directory and port."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

from exporters.clickhouse.embedded.process import ChildProcess
from exporters.clickhouse.embedded.users import DEFAULT_USER, Role, User, Users
from supervision import Keeper, StartError, exit_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class EmbeddedError(StartError):
    """The embedded ClickHouse does not start; the message is a sentence that says what to do."""


class EmbeddedClickHouse:
    """ClickHouse on `http://host:port` with its data in `path`, in a child process that is started again if it dies.

    Without `users` there is one, `default`, who is an admin without a password. `max_server_memory_usage` is the most
    that queries may use together, in bytes; 0 leaves it to the engine. `on_restart` is called with the number of
    restarts after each of them, when queries are answered again. Times are in seconds: `restart_delays` are the
    shortest and the longest; `watch` says how often the engine is asked for a sign of life and how long that may take,
    and a child that is late twice in a row is killed. `clock` is monotonic.
    """

    def __init__(
        self,
        path: Path,
        host: str = "127.0.0.1",
        port: int = 8123,
        *,
        users: Users | None = None,
        max_server_memory_usage: int = 0,
        on_restart: Callable[[int], None] | None = None,
        start_timeout: float = 30.0,
        stop_timeout: float = 10.0,
        restart_delays: tuple[float, float] = (0.1, 10.0),
        watch: tuple[float, float] = (5.0, 30.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path.absolute()
        self._host = host
        self._port = port
        self._users = users or Users([User(DEFAULT_USER, Role.ADMIN)])
        self._max_server_memory_usage = max_server_memory_usage
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._keeper = Keeper(
            "the embedded ClickHouse",
            self._launch,
            delays=restart_delays,
            watch=watch,
            on_restart=on_restart,
            clock=clock,
        )

    @property
    def url(self) -> str:
        """Where ClickHouse answers, like `http://127.0.0.1:8123`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id of the running child, None while there is none."""
        return self._keeper.child.pid if self._keeper.child else None

    @property
    def restarts(self) -> int:
        """How often the child was started again."""
        return self._keeper.restarts

    async def start(self) -> None:
        """Start the child and wait until it runs queries; raises EmbeddedError."""
        self._require_free_port()
        await self._keeper.start()

    async def stop(self) -> None:
        """Let running queries finish for a few seconds and end the child."""
        await self._keeper.stop(self._stop_timeout)

    def _require_free_port(self) -> None:
        # Before the child is there: its own error would come after the engine has opened the directory.
        place = f"{self._host}:{self._port}"
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, kind, protocol, _, address = found[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            raise EmbeddedError(
                f"the embedded ClickHouse cannot listen on {place} ({error.strerror}): "
                "stop what listens there, or set another exporters::clickhouse::embedded::endpoint"
            ) from error

    async def _launch(self) -> ChildProcess:
        child = await ChildProcess.spawn(
            self._path,
            self._host,
            self._port,
            users=self._users,
            memory=self._max_server_memory_usage,
            grace=self._stop_timeout / 3,
        )
        try:
            await self._answers(child)
        except BaseException:
            await asyncio.shield(child.end(0))
            raise
        return child

    async def _answers(self, child: ChildProcess) -> None:
        answering = asyncio.create_task(child.answers())
        exiting = asyncio.create_task(child.wait())
        try:
            await asyncio.wait({answering, exiting}, timeout=self._start_timeout, return_when=asyncio.FIRST_COMPLETED)
            if exiting.done():
                why = child.last_words or exit_of(exiting.result())
                raise EmbeddedError(f"the embedded ClickHouse did not start: {why}")
            if not answering.done():
                raise EmbeddedError(f"the embedded ClickHouse did not answer within {self._start_timeout:g} s")
            answering.result()
        finally:
            answering.cancel()
            exiting.cancel()
            await asyncio.gather(answering, exiting, return_exceptions=True)
