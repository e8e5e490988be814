"""The supervisor: starts the embedded ClickHouse and the workers, keeps them running, and speaks for them all."""

from __future__ import annotations

import asyncio
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from config import ConfigError, Secret
from exporters.clickhouse.embedded import EmbeddedClickHouse, Role, User, Users, hash_password
from exporters.clickhouse.exporter import ClickHouseExporter
from exporters.clickhouse.settings import Login
from gateway.components import read_pipeline
from gateway.disk_watch import DiskWatch
from gateway.known_keys import KnownKeys
from gateway.operations import Operations
from gateway.ports import bind_all, share
from gateway.tasks import run_until_closed
from gateway.telemetry.metrics import Metrics
from gateway.worker.process import WorkerError
from gateway.worker.service import CLICKHOUSE_GRACE
from gateway.worker.setup import Setup
from gateway.workers import Workers
from otlp.errors import PermanentError, RetryableError
from supervision import LockedError, file_lock

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from config import Settings

log = structlog.get_logger()

_TELEMETRY: Final = "service::telemetry::endpoint"
_PORT_PATIENCE: Final = 2.0  # workers of a gateway that was killed end a moment after it
_MIGRATION_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Started:
    """What a user wants to know of a gateway that runs. `first_key` is a key that was just made, to be shown once."""

    http: str
    grpc: str
    clickhouse: str
    database: str
    first_key: str


class Supervisor:
    """One gateway: this process, its workers, and the embedded ClickHouse."""

    def __init__(self, settings: Settings) -> None:
        """ConfigError if a component's settings are wrong; nothing is started or written yet."""
        self._settings = settings
        self._parts = read_pipeline(settings)
        self._metrics = Metrics()
        self._stack = AsyncExitStack()
        self._clickhouse: EmbeddedClickHouse | None = None
        self._workers: Workers | None = None
        self._is_ready = False

    async def start(self) -> Started:
        """Start everything. On an error, everything that was started is stopped again."""
        try:
            return await self._start()
        except WorkerError as error:
            await self._stack.aclose()
            raise ConfigError(error.lines) from error
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Have the workers drain within the time of the settings, then end everything else."""
        self._is_ready = False
        await self._stack.aclose()

    async def _start(self) -> Started:
        telemetry = self._claim_ports()
        directory = self._settings.service.data_directory
        await _claim(directory, self._stack)
        keys = KnownKeys.open(self._settings)
        self._stack.callback(keys.close)
        writer, owner = self._logins()
        if self._parts.exporter.is_embedded:
            await self._start_clickhouse(directory, {Role.WRITER: writer, Role.ADMIN: owner})
        await self._migrate(owner)
        service = self._settings.service
        workers = self._workers = Workers(
            [Setup(number, self._settings, writer, owner) for number in range(service.workers)],
            on_restart=lambda _: self._metrics.worker_restarts.inc(),
            stop_timeout=max(0.0, service.shutdown_timeout.total_seconds() - CLICKHOUSE_GRACE),
        )
        self._stack.push_async_callback(workers.stop)
        await workers.start()
        operations = Operations(lambda: workers.metrics(self._metrics), self._status)
        await operations.start(telemetry)
        self._stack.push_async_callback(operations.stop)
        # Made last, so that no failed start makes one that nobody sees.
        first_key = keys.make_first()
        if first_key:
            await workers.refresh_keys()
        self._is_ready = True
        protocols, exporter = self._parts.receiver.protocols, self._parts.exporter
        return Started(
            f"http://{protocols.http.endpoint}" if protocols.http is not None else "",
            str(protocols.grpc.endpoint) if protocols.grpc is not None else "",
            exporter.url,
            exporter.database,
            first_key,
        )

    def _claim_ports(self) -> socket.socket:
        """Make sure that every port is free, and keep those of the workers; returns the listener of the telemetry."""
        protocols, receiver = self._parts.receiver.protocols, f"receivers::{self._parts.receiver_id}"
        shared = {
            f"{receiver}::protocols::{name}::endpoint": protocol.endpoint
            for name, protocol in (("http", protocols.http), ("grpc", protocols.grpc))
            if protocol is not None
        }
        wanted = {_TELEMETRY: self._settings.service.telemetry.endpoint, **shared}
        if self._parts.exporter.is_embedded:
            embedded = f"exporters::{self._parts.exporter_id}::embedded::endpoint"
            wanted[embedded] = self._parts.exporter.own_server.endpoint
        bound = bind_all(wanted, _PORT_PATIENCE)
        telemetry = bound.pop(_TELEMETRY)
        self._stack.callback(telemetry.close)
        for listener in bound.values():
            listener.close()
        for endpoint in shared.values():
            self._stack.callback(share(endpoint, listen=False).close)
        return telemetry

    def _logins(self) -> tuple[Login, Login]:
        """As whom workers insert, and as whom the schema is changed.

        The embedded ClickHouse has users for it alone, with secrets that end with this process.
        """
        exporter = self._parts.exporter
        if not exporter.is_embedded:
            return exporter.login, exporter.login
        return _new_login("tollgate"), _new_login("tollgate_schema")

    async def _start_clickhouse(self, directory: Path, logins: dict[Role, Login]) -> None:
        own = self._parts.exporter.own_server
        self._clickhouse = EmbeddedClickHouse(
            own.directory(directory),
            own.endpoint.host,
            own.endpoint.port,
            users=Users([*own.all_users(), *(_own_user(role, login) for role, login in logins.items())]),
            max_server_memory_usage=own.memory,
            on_restart=lambda _: self._metrics.clickhouse_restarts.inc(),
            stop_timeout=CLICKHOUSE_GRACE,
            restart_delays=(own.restart.initial_interval.total_seconds(), own.restart.max_interval.total_seconds()),
        )
        self._stack.push_async_callback(self._clickhouse.stop)
        await self._clickhouse.start()
        watch = DiskWatch(
            own.directory(directory), own.min_free_disk, self._metrics.clickhouse_disk_free, "embedded ClickHouse"
        )
        run_until_closed(self._stack, watch.run(), "disk")

    async def _migrate(self, owner: Login) -> None:
        """Bring the schema up to date. If ClickHouse is away, workers do so with their first insert."""
        exporter = ClickHouseExporter(self._parts.exporter, owner=owner)
        thread = ThreadPoolExecutor(1, thread_name_prefix="migration")
        migration = asyncio.get_running_loop().run_in_executor(thread, exporter.migrate)
        thread.shutdown(wait=False)
        await asyncio.wait({migration}, timeout=_MIGRATION_PATIENCE)
        try:
            if migration.done():
                migration.result()
            else:
                migration.add_done_callback(lambda late: late.cancelled() or late.exception())
                log.warning("ClickHouse does not answer; spans wait in the spool", url=self._parts.exporter.url)
        except RetryableError as error:
            log.warning("ClickHouse is away; spans wait in the spool", error=str(error))
        except PermanentError as error:
            raise ConfigError([f"exporters::{self._parts.exporter_id}: {error}"]) from error

    def _status(self) -> dict[str, Any]:
        clickhouse: dict[str, Any] = {"url": self._parts.exporter.url}
        if self._clickhouse is not None:
            clickhouse |= {"embedded": True, "pid": self._clickhouse.pid, "restarts": self._clickhouse.restarts}
        workers = [] if self._workers is None else self._workers.status()
        return {
            "ready": self._is_ready and any(worker["ready"] for worker in workers),
            "pid": os.getpid(),
            "workers": workers,
            "clickhouse": clickhouse,
        }


async def _claim(directory: Path, stack: AsyncExitStack) -> None:
    """Make the data directory this gateway's own for as long as it runs."""
    place = "service::data_directory"
    try:
        directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - once, before anything else runs
        await stack.enter_async_context(file_lock(directory / "lock"))
    except LockedError:
        raise ConfigError(
            [f"{place}: another Tollgate is using {directory}; stop it, or choose another directory"]
        ) from None
    except OSError as error:
        raise ConfigError(
            [f"{place}: {directory} cannot be used: {error.strerror}; choose another directory"]
        ) from error


def _new_login(username: str) -> Login:
    return Login(username, Secret(secrets.token_urlsafe(32)))


def _own_user(role: Role, login: Login) -> User:
    return User(login.username, role, hash_password(login.password.reveal()))
