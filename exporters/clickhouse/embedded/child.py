"""The supervisor of the embedded ClickHouse: keeps one child process running on its directory and port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING, Final

import structlog

from exporters.clickhouse.embedded.process import ChildProcess
from exporters.clickhouse.embedded.users import DEFAULT_USER, Role, User, Users

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LATE_TWICE: Final = 2
_RAN_WELL: Final = 60.0  # seconds after which a death is a new one, not the next of a row

log = structlog.get_logger()


class EmbeddedError(Exception):
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
        self._on_restart = on_restart
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._first_delay, self._longest_delay = restart_delays
        self._watch_interval, self._watch_timeout = watch
        self._clock = clock
        self._child: ChildProcess | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._restarts = 0

    @property
    def url(self) -> str:
        """Where ClickHouse answers, like `http://127.0.0.1:8123`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id of the running child, None while there is none."""
        return self._child.pid if self._child else None

    @property
    def restarts(self) -> int:
        """How often the child was started again."""
        return self._restarts

    async def start(self) -> None:
        """Start the child and wait until it runs queries; raises EmbeddedError."""
        if self._supervision is not None:
            raise RuntimeError("the embedded ClickHouse is already started")
        self._require_free_port()
        child = await self._launch()
        self._supervision = asyncio.create_task(self._supervise(child), name="embedded-clickhouse")

    async def stop(self) -> None:
        """Let running queries finish for a few seconds and end the child."""
        supervision, self._supervision = self._supervision, None
        if supervision is not None:
            supervision.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await supervision
        child, self._child = self._child, None
        if child is not None:
            await child.end(self._stop_timeout)

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
        self._child = child
        return child

    async def _answers(self, child: ChildProcess) -> None:
        answering = asyncio.create_task(child.answers(self.url))
        exiting = asyncio.create_task(child.wait())
        try:
            await asyncio.wait({answering, exiting}, timeout=self._start_timeout, return_when=asyncio.FIRST_COMPLETED)
            if exiting.done():
                raise EmbeddedError(f"the embedded ClickHouse did not start: {child.said or _exit(exiting.result())}")
            if not answering.done():
                raise EmbeddedError(f"the embedded ClickHouse did not answer within {self._start_timeout:g} s")
            answering.result()
        finally:
            answering.cancel()
            exiting.cancel()
            await asyncio.gather(answering, exiting, return_exceptions=True)

    async def _supervise(self, child: ChildProcess) -> None:
        delay = self._first_delay
        while True:
            started = self._clock()
            watch = asyncio.create_task(self._watch(child), name="clickhouse-watch")
            try:
                status = await child.wait()
            finally:
                watch.cancel()
            self._child = None
            if self._clock() - started >= _RAN_WELL:
                delay = self._first_delay
            log.error("clickhouse_died", how=_exit(status), last_words=child.said, restart_in=delay)
            child, delay = await self._relaunch(delay)
            self._restarts += 1
            log.info("clickhouse_restarted", pid=child.pid, restarts=self._restarts)
            if self._on_restart is not None:
                try:
                    self._on_restart(self._restarts)
                except Exception:
                    log.exception("clickhouse_on_restart_failed")

    async def _watch(self, child: ChildProcess) -> None:
        """Kill a child whose engine hangs, so that another one is started."""
        late = 0
        while late < _LATE_TWICE:
            await asyncio.sleep(self._watch_interval)
            late = 0 if await child.is_alive(self.url, self._watch_timeout) else late + 1
        log.error("clickhouse_hangs", pid=child.pid, timeout=self._watch_timeout)
        child.kill()

    async def _relaunch(self, delay: float) -> tuple[ChildProcess, float]:
        """Try until a child answers; with it comes the delay of the next attempt."""
        while True:
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._longest_delay)
            try:
                return await self._launch(), delay
            except EmbeddedError as error:
                log.error("clickhouse_restart_failed", error=str(error), restart_in=delay)


def _exit(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
