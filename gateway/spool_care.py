"""Looks after the spools of a worker: deletes what was stored long enough ago, and tells how much room there is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.pipeline import Pipeline
    from gateway.spool.room import Room
    from gateway.spool.spool import Spool
    from gateway.telemetry.metrics import Metrics

_EXPIRE_EVERY: Final = 5.0
_LOOK_EVERY: Final = 0.5

log = structlog.get_logger()


class SpoolCare:
    """Runs in the pipeline's thread, which owns the spools."""

    def __init__(self, spools: Sequence[Spool], pipeline: Pipeline, room: Room, metrics: Metrics) -> None:
        self._spools = spools
        self._pipeline = pipeline
        self._room = room
        self._metrics = metrics

    async def run(self) -> None:
        """Look again and again, until it is cancelled."""
        expired_at = 0.0
        while True:
            try:
                if time.monotonic() - expired_at > _EXPIRE_EVERY:
                    expired_at = time.monotonic()
                    await self._pipeline.in_worker(self._expire)
                await self._pipeline.in_worker(self._look)
            except OSError as error:
                log.error("the spool's directory cannot be looked after; this is tried again", error=str(error))
            await asyncio.sleep(_LOOK_EVERY)

    def _expire(self) -> None:
        for spool in self._spools:
            spool.expire(self._room.shortage())

    def _look(self) -> None:
        waiting = sum(spool.bytes_waiting() for spool in self._spools)
        self._room.look(waiting)
        if self._room.shortage():
            # What ClickHouse has must not keep out what it has not.
            self._expire()
            self._room.look(waiting)
        self._metrics.spool_bytes.set(waiting)
