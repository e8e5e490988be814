"""Whether there is room for more: the spool has a bound, and its disk keeps some free space.

Near the bound senders are told to try again before their bodies are read. Nothing that was acknowledged is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from otlp.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Gauge

_RETRY_AFTER: Final = 10.0

log = structlog.get_logger()


class Room:
    """What the spool may still take.

    `max_size` and `min_free_disk` are bytes, `free_disk` gives the free bytes of the spool's disk; `is_full` is a gauge
    that is 1 while senders are refused.
    """

    def __init__(
        self, max_size: int, min_free_disk: int, *, free_disk: Callable[[], int], is_full: Gauge | None = None
    ) -> None:
        self._max_size = max_size
        self._min_free_disk = min_free_disk
        self._free_disk = free_disk
        self._gauge = is_full
        self._waiting = 0
        self._free = min_free_disk
        self._was_full = False

    def look(self, waiting: int) -> None:
        """Take note of the bytes that wait for ClickHouse, and of the disk; to be called often."""
        self._waiting = waiting
        try:
            self._free = self._free_disk()
        except OSError as error:
            log.warning("the spool's disk cannot be looked at", error=str(error))
        why = self._why_full()
        if bool(why) != self._was_full:
            self._was_full = bool(why)
            if why:
                log.error("the spool is full: senders are told to try again", why=why)
            else:
                log.info("the spool has room again")
        if self._gauge is not None:
            self._gauge.set(float(bool(why)))

    def took(self, size: int) -> None:
        """Count bytes that were written since the last look."""
        self._waiting += size
        self._free -= size

    def require(self) -> None:
        """Raise RetryableError if there is no room."""
        why = self._why_full()
        if why:
            raise RetryableError(f"Tollgate's spool is full: {why}; try again.", delay=_RETRY_AFTER)

    def shortage(self) -> int:
        """Bytes by which the disk's free space is too small, with some to spare; 0 if it is not."""
        return max(0, self._min_free_disk + self._min_free_disk // 4 - self._free)

    def _why_full(self) -> str:
        if self._waiting >= self._max_size:
            return "ClickHouse has not taken what waits for it"
        if self._free < self._min_free_disk:
            return "its disk has too little free space"
        return ""
