"""The service: builds everything from the settings, starts it in order, and stops it in the opposite one."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from config import ConfigError, Secret
from exporters.clickhouse.embedded import EmbeddedClickHouse, Role, User, Users, hash_password
from exporters.clickhouse.exporter import ClickHouseExporter
from exporters.clickhouse.rows import SPANS
from exporters.clickhouse.settings import Login
from gateway.authentication import Authenticator
from gateway.components import create_processor, read_components
from gateway.dead_letters import DeadLetters
from gateway.disk_watch import DiskWatch
from gateway.export_loop import Backoff, ExportLoop
from gateway.ledger import Ledger
from gateway.operations import Operations
from gateway.pipeline import Pipeline, PipelineLimits
from gateway.ports import bind_all
from gateway.receivers.otlp_grpc import OtlpGrpcReceiver
from gateway.receivers.otlp_http import OtlpHttpReceiver
from gateway.replay import Replay
from gateway.spool.directories import spool_directory
from gateway.spool.room import Room
from gateway.spool.spool import Spool, SpoolLimits
from gateway.telemetry.metrics import Metrics
from otlp.errors import PermanentError, RetryableError
from processors.base import Context
from state import KeyStore, hash_key, open_database

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from config import ComponentId, Settings
    from exporters.clickhouse.settings import ClickHouseSettings
    from gateway.components import OtlpSettings

log = structlog.get_logger()

HTTP, GRPC, TELEMETRY = "protocols::http::endpoint", "protocols::grpc::endpoint", "service::telemetry::endpoint"
_REFRESH_KEYS = 1.0
_WAITING_BATCHES = 4
_RECEIVERS_GRACE = 1.5
_CLICKHOUSE_GRACE = 1.5
_EXPORTER_GRACE = 0.2
_MIGRATION_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Started:
    """What a user wants to know of a gateway that runs. `first_key` is a key that was just made, to be shown once."""

    http: str
    grpc: str
    clickhouse: str
    database: str
    first_key: str


class Service:
    """One gateway process with what belongs to it."""

    def __init__(self, settings: Settings) -> None:
        """ConfigError if a component's settings are wrong; nothing is started or written yet."""
        self._settings = settings
        components = read_components(settings)
        (self._pipeline_settings,) = settings.service.pipelines.values()
        self._receiver_id: ComponentId = self._pipeline_settings.receivers[0]
        self._receiver: OtlpSettings = components.receivers[self._receiver_id]
        self._exporter_id = self._pipeline_settings.exporters[0]
        self._exporter_settings: ClickHouseSettings = components.exporters[self._exporter_id]
        self._processors = [
            create_processor(name, components.processors[name]) for name in self._pipeline_settings.processors
        ]
        self._metrics = Metrics()
        self._exporter_worker = ThreadPoolExecutor(1, thread_name_prefix="exporter")
        self._stack = AsyncExitStack()
        self._clickhouse: EmbeddedClickHouse | None = None
        self._pipeline: Pipeline | None = None
        self._ready = False
        self._stop_by = 0.0
        self.is_hanging = False

    async def start(self) -> Started:
        """Start everything. On an error, everything that was started is stopped again."""
        try:
            return await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Stop accepting, store what can be stored in time, and leave the rest on disk for the next start.

        `is_hanging` tells afterwards whether a thread still waits for ClickHouse.
        """
        self._ready = False
        self._stop_by = time.monotonic() + self._settings.service.shutdown_timeout.total_seconds()
        await self._stack.aclose()

    async def _start(self) -> Started:
        listeners = self._bind()
        directory = self._settings.service.data_directory
        _claim(directory, self._stack)
        authenticator, store = await self._start_keys()
        writer, owner = self._logins()
        exporter = ClickHouseExporter(self._exporter_settings, writer=writer, owner=owner)
        self._stack.push_async_callback(self._end_exporter, exporter)
        await self._start_clickhouse(exporter, directory, {Role.WRITER: writer, Role.ADMIN: owner})
        pipeline = self._pipeline = await self._start_pipeline(exporter, directory)
        http, grpc = await self._start_receivers(listeners, authenticator, pipeline)
        await self._start_operations(listeners[TELEMETRY])
        first_key = self._make_first_key(store, authenticator)
        self._ready = True
        return Started(http, grpc, self._exporter_settings.url, self._exporter_settings.database, first_key)

    def _bind(self) -> dict[str, socket.socket]:
        """Bind every port. gRPC and the embedded ClickHouse bind their own; theirs are tried and let go."""
        protocols, receiver = self._receiver.protocols, f"receivers::{self._receiver_id}"
        wanted = {TELEMETRY: self._settings.service.telemetry.endpoint}
        if protocols.http is not None:
            wanted[f"{receiver}::{HTTP}"] = protocols.http.endpoint
        if protocols.grpc is not None:
            wanted[f"{receiver}::{GRPC}"] = protocols.grpc.endpoint
        embedded = f"exporters::{self._exporter_id}::embedded::endpoint"
        if self._exporter_settings.is_embedded:
            wanted[embedded] = self._exporter_settings.own_server.endpoint
        bound = bind_all(wanted)
        for place in (f"{receiver}::{GRPC}", embedded):
            if place in bound:
                bound.pop(place).close()
        listeners = {TELEMETRY if place == TELEMETRY else HTTP: listener for place, listener in bound.items()}
        for listener in listeners.values():
            self._stack.callback(listener.close)
        return listeners

    async def _start_keys(self) -> tuple[Authenticator, KeyStore]:
        """The authenticator, kept up to date with the keys of the state database."""
        configured = {
            hash_key(key.reveal()): name
            for name, destination in self._settings.destinations.items()
            for key in destination.api_keys
        }
        authenticator = Authenticator(configured)
        engine = open_database(self._settings.service.state_url.reveal())
        self._stack.callback(engine.dispose)
        store = KeyStore(engine, clock=lambda: datetime.now(UTC))
        authenticator.update(self._usable_keys(store))
        task = asyncio.create_task(self._refresh_keys(authenticator, store), name="keys")
        self._stack.push_async_callback(_cancel, task)
        return authenticator, store

    def _make_first_key(self, store: KeyStore, authenticator: Authenticator) -> str:
        """A key if there was never one, else nothing. Made last, so that no failed start makes one that nobody sees."""
        if not authenticator.is_empty or store.list():
            return ""
        _, key = store.create(next(iter(self._settings.destinations)), "made at the first start")
        authenticator.update(self._usable_keys(store))
        return key

    def _usable_keys(self, store: KeyStore) -> dict[bytes, str]:
        """The keys made at run time, without those of destinations that the settings no longer have."""
        destinations = self._settings.destinations
        return {digest: name for digest, name in store.active_hashes().items() if name in destinations}

    async def _refresh_keys(self, authenticator: Authenticator, store: KeyStore) -> None:
        """Take over keys that are made or revoked while the gateway runs."""
        while True:
            await asyncio.sleep(_REFRESH_KEYS)
            try:
                authenticator.update(await asyncio.to_thread(self._usable_keys, store))
            except Exception as error:  # noqa: BLE001 - the keys known so far stay good while the database is away
                log.warning("the state database cannot be read; keys stay as they were", error=str(error))

    def _logins(self) -> tuple[Login, Login]:
        """As whom the gateway inserts, and as whom it changes the schema.

        The embedded ClickHouse has users for it alone, with secrets that end with this process.
        """
        if not self._exporter_settings.is_embedded:
            return self._exporter_settings.login, self._exporter_settings.login
        return _new_login("tollgate"), _new_login("tollgate_schema")

    async def _start_clickhouse(self, exporter: ClickHouseExporter, directory: Path, logins: dict[Role, Login]) -> None:
        """Start the embedded ClickHouse if it is wanted, and bring the schema up to date."""
        if self._exporter_settings.is_embedded:
            own = self._exporter_settings.own_server
            self._clickhouse = EmbeddedClickHouse(
                own.directory(directory),
                own.endpoint.host,
                own.endpoint.port,
                users=Users([*own.all_users(), *(_own_user(role, login) for role, login in logins.items())]),
                max_server_memory_usage=own.memory,
                on_restart=lambda _: self._metrics.clickhouse_restarts.inc(),
                stop_timeout=_CLICKHOUSE_GRACE,
                restart_delays=(
                    own.restart.initial_interval.total_seconds(),
                    own.restart.max_interval.total_seconds(),
                ),
            )
            await self._clickhouse.start()
            self._stack.push_async_callback(self._clickhouse.stop)
            watch = DiskWatch(
                own.directory(directory), own.min_free_disk, self._metrics.clickhouse_disk_free, "embedded ClickHouse"
            )
            task = asyncio.create_task(watch.run(), name="disk")
            self._stack.push_async_callback(_cancel, task)
        migration = asyncio.get_running_loop().run_in_executor(self._exporter_worker, exporter.migrate)
        await asyncio.wait({migration}, timeout=_MIGRATION_PATIENCE)
        try:
            # Spans are taken all the same: the schema is tried again with the first insert.
            if migration.done():
                migration.result()
            else:
                migration.add_done_callback(lambda late: late.cancelled() or late.exception())
                log.warning("ClickHouse does not answer; spans wait in the spool", url=self._exporter_settings.url)
        except RetryableError as error:
            log.warning("ClickHouse is away; spans wait in the spool", error=str(error))
        except PermanentError as error:
            raise ConfigError([f"exporters::{self._exporter_id}: {error}"]) from error

    async def _end_exporter(self, exporter: ClickHouseExporter) -> None:
        """Close the exporter in its thread. One that waits for a ClickHouse that hangs can only be left behind."""
        closing = asyncio.get_running_loop().run_in_executor(self._exporter_worker, exporter.close)
        _, late = await asyncio.wait({closing}, timeout=_EXPORTER_GRACE)
        self.is_hanging = bool(late)
        self._exporter_worker.shutdown(wait=False, cancel_futures=True)

    async def _start_pipeline(self, exporter: ClickHouseExporter, directory: Path) -> Pipeline:
        service = self._settings.service
        spool = Spool(
            spool_directory(directory, 0),
            exporter.schema,
            SpoolLimits(
                service.spool.segment_max_size,
                service.spool.retain_stored.total_seconds(),
                service.spool.max_size,
            ),
            clock=time.time_ns,
            random_hex=lambda: secrets.token_hex(4),
        )
        self._stack.callback(spool.close)
        room = Room(
            service.spool.max_size,
            service.spool.min_free_disk,
            free_disk=lambda: shutil.disk_usage(directory).free,
            is_full=self._metrics.spool_full,
        )
        room.look(spool.bytes_waiting())
        ledger = Ledger(spool_directory(directory, 0), self._metrics.count)
        pipeline = Pipeline(
            self._processors,
            exporter.encode,
            spool,
            Context(self._settings.destinations),
            limits=PipelineLimits(
                service.batch.max_size, _WAITING_BATCHES * service.batch.max_size, service.batch.linger.total_seconds()
            ),
            room=room,
            ledger=ledger,
            metrics=self._metrics,
        )
        retry = self._exporter_settings.retry_on_failure
        dead_letters = DeadLetters(directory / "dead-letter")
        loop = ExportLoop(
            spool,
            pipeline,
            exporter,
            self._metrics,
            ledger=ledger,
            dead_letters=dead_letters,
            room=room,
            worker=self._exporter_worker,
            backoff=Backoff(retry.initial_interval.total_seconds(), retry.max_interval.total_seconds()),
            max_age=service.spool.segment_max_age.total_seconds(),
            main_table=SPANS,
        )
        pipeline.start()
        loop.start()
        replay = asyncio.create_task(
            Replay(dead_letters, exporter, self._metrics, self._exporter_worker).run(), name="replay"
        )
        self._stack.push_async_callback(_cancel, replay)

        async def drain() -> None:
            await pipeline.drain()
            await pipeline.in_worker(spool.seal)
            await loop.stop(max(0.0, self._stop_by - _CLICKHOUSE_GRACE - time.monotonic()))
            pipeline.close()

        self._stack.push_async_callback(drain)
        return pipeline

    async def _start_receivers(
        self, listeners: dict[str, socket.socket], authenticator: Authenticator, pipeline: Pipeline
    ) -> tuple[str, str]:
        """Start OTLP; returns the base URL and the gRPC address (empty where a protocol is off)."""
        protocols = self._receiver.protocols
        http = grpc = ""
        if protocols.http is not None:
            receiver = OtlpHttpReceiver(
                authenticator,
                pipeline,
                self._metrics,
                max_request_body_size=protocols.http.max_request_body_size,
                grace=_RECEIVERS_GRACE,
            )
            await receiver.start(listeners[HTTP])
            self._stack.push_async_callback(receiver.stop)
            http = f"http://{protocols.http.endpoint}"
        if protocols.grpc is not None:
            grpc_receiver = OtlpGrpcReceiver(
                authenticator,
                pipeline,
                self._metrics,
                max_request_body_size=protocols.grpc.max_request_body_size,
                grace=_RECEIVERS_GRACE,
            )
            await grpc_receiver.start(protocols.grpc.endpoint)
            self._stack.push_async_callback(grpc_receiver.stop)
            grpc = str(protocols.grpc.endpoint)
        return http, grpc

    async def _start_operations(self, listener: socket.socket) -> None:
        operations = Operations(self._metrics, self._status)
        await operations.start(listener)
        self._stack.push_async_callback(operations.stop)

    def _status(self) -> dict[str, Any]:
        clickhouse: dict[str, Any] = {"url": self._exporter_settings.url}
        if self._clickhouse is not None:
            clickhouse |= {"embedded": True, "pid": self._clickhouse.pid, "restarts": self._clickhouse.restarts}
        ready = self._ready and self._pipeline is not None and self._pipeline.is_running
        return {"ready": ready, "pid": os.getpid(), "clickhouse": clickhouse}


def _claim(directory: Path, stack: AsyncExitStack) -> None:
    """Make the data directory this process's own for as long as it runs."""
    place = "service::data_directory"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context((directory / "lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
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


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
