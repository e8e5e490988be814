"""Watches the free space of a disk: a gauge, and one log line each time it becomes too little or enough again."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import Gauge

_INTERVAL: Final = 15.0

log = structlog.get_logger()


class DiskWatch:
    """The disk that holds `directory`; `min_free` is in bytes, and `whose` names in the log who needs the space."""

    def __init__(self, directory: Path, min_free: int, gauge: Gauge, whose: str) -> None:
        self._directory = directory
        self._min_free = min_free
        self._gauge = gauge
        self._whose = whose
        self.is_low = False

    async def run(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(_INTERVAL)

    def look(self) -> None:
        """Look once."""
        try:
            free = shutil.disk_usage(self._directory).free
        except OSError as error:
            log.warning("the disk cannot be looked at", directory=str(self._directory), error=str(error))
            return
        self._gauge.set(free)
        was_low, self.is_low = self.is_low, free < self._min_free
        if self.is_low and not was_low:
            log.error(
                "a disk is nearly full: free space, or spans will wait in the spool",
                whose=self._whose,
                directory=str(self._directory),
                free_bytes=free,
                min_free_bytes=self._min_free,
            )
        elif was_low and not self.is_low:
            log.info("a disk has room again", whose=self._whose, directory=str(self._directory), free_bytes=free)
