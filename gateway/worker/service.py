"""What a worker process runs: receivers, a pipeline with a spool, and the export of that spool.

It also exports the spools of workers that are no more: worker n of N takes care of spool n, n + N, n + 2 N and so on.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeVar

from config import ConfigError
from exporters.clickhouse.embedded.memory import machine_memory
from exporters.clickhouse.exporter import ClickHouseExporter
from exporters.clickhouse.rows import SPANS
from gateway.admission import GROWTH, Admission
from gateway.components import create_processor, read_pipeline
from gateway.dead_letters import DeadLetters
from gateway.export_loop import Backoff, ExportLoop
from gateway.known_keys import KnownKeys
from gateway.ledger import Ledger
from gateway.pipeline import Pipeline, PipelineLimits
from gateway.ports import share
from gateway.receivers.otlp_grpc import OtlpGrpcReceiver
from gateway.receivers.otlp_http import OtlpHttpReceiver
from gateway.replay import Replay
from gateway.spool.directories import spool_directories, spool_directory
from gateway.spool.durable import boot_id
from gateway.spool.room import Room
from gateway.spool.spool import Spool, SpoolLimits
from gateway.spool_care import SpoolCare
from gateway.tasks import run_until_closed
from gateway.telemetry.merge import plain
from gateway.telemetry.metrics import Metrics
from processors.base import Context
from supervision import LockedError, file_lock

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.worker.setup import Setup

CLICKHOUSE_GRACE: Final = 1.5
"""Seconds of the time for a shutdown that are kept for the embedded ClickHouse, which ends after the workers."""
_BATCHES_IN_FLIGHT: Final = 4
_RECEIVERS_GRACE: Final = 1.5
_EXPORTER_GRACE: Final = 0.5
_LOCK_PATIENCE: Final = 10.0


ReceiverT = TypeVar("ReceiverT", OtlpHttpReceiver, OtlpGrpcReceiver)


class Worker:
    """The parts of a worker, started in order and stopped in the opposite one."""

    def __init__(self, setup: Setup) -> None:
        self._number = setup.number
        self._settings = setup.settings
        self._parts = read_pipeline(setup.settings)
        self._exporter = ClickHouseExporter(self._parts.exporter, writer=setup.writer, owner=setup.owner)
        self._exporter_thread = ThreadPoolExecutor(1, thread_name_prefix="exporter")
        self._metrics = Metrics()
        self._stack = AsyncExitStack()
        self._keys: KnownKeys | None = None
        self._pipeline: Pipeline | None = None
        self._loops: list[ExportLoop] = []
        self._stop_by = 0.0
        self.is_hanging = False

    async def start(self) -> bool:
        """Start everything; true. On an error, everything that was started is stopped again."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return True

    async def stop(self) -> None:
        """Stop accepting, store what can be stored in time, and leave the rest on disk for the next start.

        `is_hanging` tells afterwards whether a thread still waits for ClickHouse.
        """
        budget = self._settings.service.shutdown_timeout.total_seconds() - CLICKHOUSE_GRACE - _EXPORTER_GRACE
        self._stop_by = time.monotonic() + max(0.0, budget)
        await self._stack.aclose()

    def report(self, *, refresh_keys: bool = False) -> dict[str, Any]:
        """Whether it takes requests, and its metrics; first, if asked, it takes over keys that were just made."""
        if refresh_keys and self._keys is not None:
            self._keys.refresh()
        return {
            "ready": self._is_whole(),
            "metrics": plain(self._metrics.registry),
        }

    def _is_whole(self) -> bool:
        """Whether spans are both taken and exported; a worker that is not whole is replaced."""
        return self._pipeline is not None and self._pipeline.is_running and all(loop.is_running for loop in self._loops)

    async def _start(self) -> None:
        _allow_many_connections()
        self._stack.push_async_callback(self._end_exporter)
        directories = await self._claim_spools()
        keys = self._keys = KnownKeys.open(self._settings)
        self._stack.callback(keys.close)
        run_until_closed(self._stack, keys.run(), "keys")
        pipeline = self._pipeline = await asyncio.to_thread(self._make_pipeline, directories)
        self._start_export(pipeline)
        await self._start_receivers(pipeline, keys)

    async def _claim_spools(self) -> list[Path]:
        """The directories of this worker's spools, its own first, locked: one worker at a time writes to each.

        The worker before this one may need a moment to end.
        """
        service = self._settings.service
        own = spool_directory(service.data_directory, self._number)
        own.mkdir(parents=True, exist_ok=True)
        found = spool_directories(service.data_directory)
        others = [path for path in found if path != own and int(path.name) % service.workers == self._number]
        for path in (own, *others):
            try:
                await self._stack.enter_async_context(file_lock(path / "lock", _LOCK_PATIENCE))
            except LockedError:
                raise ConfigError([f"service::data_directory: another worker is using {path}"]) from None
        return [own, *others]

    def _make_pipeline(self, directories: list[Path]) -> Pipeline:
        """The pipeline on the worker's own spool; the others are only exported."""
        service = self._settings.service
        max_size = service.spool.max_size // service.workers
        limits = SpoolLimits(service.spool.segment_max_size, service.spool.retain_stored.total_seconds(), max_size)
        self._spools = []
        for directory in directories:
            spool = Spool(
                directory,
                self._exporter.schema,
                limits,
                clock=time.time_ns,
                random_hex=lambda: secrets.token_hex(4),
                boot=boot_id(),
            )
            self._stack.callback(spool.close)
            self._spools.append((spool, Ledger(directory, self._metrics.count)))
        self._room = Room(
            max_size,
            service.spool.min_free_disk,
            free_disk=lambda: shutil.disk_usage(service.data_directory).free,
            is_full=self._metrics.spool_full,
        )
        self._room.look(sum(spool.bytes_waiting() for spool, _ in self._spools))
        memory_limit = (service.memory_limit or machine_memory() // 4) // service.workers
        self._admission = Admission(
            capacity=min(_BATCHES_IN_FLIGHT * service.batch.max_size, memory_limit // GROWTH),
            memory_limit=memory_limit,
            room=self._room,
            metrics=self._metrics,
        )
        spool, ledger = self._spools[0]
        return Pipeline(
            [create_processor(name, settings) for name, settings in self._parts.processors],
            self._exporter.encode,
            spool,
            Context(self._settings.destinations),
            limits=PipelineLimits(
                service.batch.max_size, 2 * service.batch.max_size, service.batch.linger.total_seconds()
            ),
            admission=self._admission,
            room=self._room,
            ledger=ledger,
            metrics=self._metrics,
        )

    def _start_export(self, pipeline: Pipeline) -> None:
        service = self._settings.service
        retry = self._parts.exporter.retry_on_failure
        dead_letters = DeadLetters(service.data_directory / "dead-letter")
        loops = self._loops = [
            ExportLoop(
                spool,
                pipeline,
                self._exporter,
                self._metrics,
                ledger=ledger,
                dead_letters=dead_letters,
                worker=self._exporter_thread,
                backoff=Backoff(retry.initial_interval.total_seconds(), retry.max_interval.total_seconds()),
                max_age=service.spool.segment_max_age.total_seconds(),
                main_table=SPANS,
            )
            for spool, ledger in self._spools
        ]
        pipeline.start()
        for loop in loops:
            loop.start()

        async def drain() -> None:
            await pipeline.drain()
            await pipeline.in_worker(self._spools[0][0].seal)
            await asyncio.gather(*(loop.stop(max(0.0, self._stop_by - time.monotonic())) for loop in loops))
            pipeline.close()

        self._stack.push_async_callback(drain)
        run_until_closed(self._stack, self._admission.run(), "memory")
        spools = [spool for spool, _ in self._spools]
        run_until_closed(self._stack, SpoolCare(spools, pipeline, self._room, self._metrics).run(), "spool")
        if self._number == 0:
            replay = Replay(dead_letters, self._exporter, self._metrics, self._exporter_thread)
            run_until_closed(self._stack, replay.run(), "replay")

    async def _start_receivers(self, pipeline: Pipeline, keys: KnownKeys) -> None:
        def receiver(kind: type[ReceiverT], limit: int) -> ReceiverT:
            made = kind(
                keys.authenticator, pipeline, self._metrics, max_request_body_size=limit, grace=_RECEIVERS_GRACE
            )
            self._stack.push_async_callback(made.stop)
            return made

        protocols = self._parts.receiver.protocols
        if (http := protocols.http) is not None:
            listener = share(http.endpoint, listen=True)
            await receiver(OtlpHttpReceiver, http.max_request_body_size).start(listener)
        if (grpc := protocols.grpc) is not None:
            await receiver(OtlpGrpcReceiver, grpc.max_request_body_size).start(grpc.endpoint)

    async def _end_exporter(self) -> None:
        """Close the exporter in its thread. One that waits for a ClickHouse that hangs can only be left behind."""
        closing = asyncio.get_running_loop().run_in_executor(self._exporter_thread, self._exporter.close)
        _, late = await asyncio.wait({closing}, timeout=_EXPORTER_GRACE / 2)
        self.is_hanging = bool(late)
        self._exporter_thread.shutdown(wait=False, cancel_futures=True)


def _allow_many_connections() -> None:
    """Every connection is a file; shells often allow a thousand where the system allows many more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
