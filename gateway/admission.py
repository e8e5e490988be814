"""Who may send now: what is in flight is bounded, and so is the process's memory.

Requests are admitted before their bodies are read. One that is not is told to try again, which OTLP's senders do.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import pyarrow as pa
import structlog

from otlp.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.spool.room import Room
    from gateway.telemetry.metrics import Metrics

GROWTH: Final = 10
"""How much larger a body becomes, about, while it is decoded, processed and written."""
_LOOK_EVERY: Final = 0.25

log = structlog.get_logger()


class Ticket:
    """The right to send so many bytes; given back by `release`, or at the end of a `with` unless it was handed on."""

    def __init__(self, admission: Admission, size: int) -> None:
        self._admission = admission
        self.size = size
        self.is_handed_on = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.is_handed_on:
            self.release()

    def resize(self, size: int) -> None:
        """Ask for more, or give back some; RetryableError if there is no room for more."""
        self._admission.resize(self, size)

    def release(self) -> None:
        """Give everything back."""
        self._admission.resize(self, 0)


class Admission:
    """Admits requests while there is room for them in flight, in memory and in the spool.

    `capacity` bounds the bytes of bodies that are read, wait and are processed; one request is admitted whatever its
    size. `memory_limit` is in bytes, and `memory` tells how many the process uses: above the limit a request is only
    admitted if none is in flight, so that a process that cannot give memory back still serves.
    """

    def __init__(
        self, *, capacity: int, memory_limit: int, room: Room, metrics: Metrics, memory: Callable[[], int] | None = None
    ) -> None:
        self._capacity = capacity
        self._memory_limit = memory_limit
        self._room = room
        self._metrics = metrics
        self._memory = memory or resident_memory
        self._in_flight = 0
        self._is_over = False
        self._is_closed = False

    def admit(self, size: int) -> Ticket:
        """Admit a request of about so many bytes; RetryableError with the reason."""
        if self._is_closed:
            raise RetryableError("Tollgate is shutting down; try again.", delay=1)
        self._room.require()
        ticket = Ticket(self, 0)
        self.resize(ticket, size)
        return ticket

    def resize(self, ticket: Ticket, size: int) -> None:
        """Change what a ticket is for."""
        others = self._in_flight - ticket.size
        if size > ticket.size and others:
            if others + size > self._capacity:
                raise RetryableError("Tollgate is overloaded: too many requests are in flight; try again.", delay=1)
            if self._is_over:
                raise RetryableError("Tollgate is short of memory; try again.", delay=2)
        self._in_flight = others + size
        ticket.size = size

    def close(self) -> None:
        """Admit nobody any more."""
        self._is_closed = True

    async def run(self) -> None:
        """Look at the memory again and again, until it is cancelled."""
        while True:
            if self.look():
                await asyncio.to_thread(release_memory)
                self.look()
            await asyncio.sleep(_LOOK_EVERY)

    def look(self) -> bool:
        """See how much memory is used; true if it is too much."""
        used = self._memory()
        was_over, self._is_over = self._is_over, used > self._memory_limit
        if self._is_over and not was_over:
            log.warning("the memory limit is reached: senders are told to try again", bytes=used)
        elif was_over and not self._is_over:
            log.info("there is memory again", bytes=used)
        self._metrics.memory.set(used)
        self._metrics.memory_limited.set(float(self._is_over))
        return self._is_over


def resident_memory() -> int:
    """Bytes of memory that this process has; where the system does not tell, 0."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def release_memory() -> None:
    """Give back to the system what is free: both allocators keep it for later."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # musl has none
            trim(0)
