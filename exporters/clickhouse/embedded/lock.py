"""The lock on a database directory: two engines on one directory would destroy it."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_NAME: Final = "tollgate.lock"
_INTERVAL: Final = 0.05


class LockedError(Exception):
    """Another process holds the directory."""


@asynccontextmanager
async def directory_lock(directory: Path, timeout: float) -> AsyncIterator[None]:  # noqa: ASYNC109 -- its error says more
    """Hold the directory, made if need be, for this process; the kernel gives it free when the process dies.

    Waits up to `timeout` seconds, because the process before this one may just be ending; then raises LockedError.
    Raises OSError where the directory cannot be made or written.
    """
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 -- once, before anything else runs
    descriptor = os.open(directory / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = asyncio.get_running_loop().time() + timeout
        while not _try_lock(descriptor):
            if asyncio.get_running_loop().time() >= deadline:
                raise LockedError(f"the directory {directory} is in use by another embedded ClickHouse")
            await asyncio.sleep(_INTERVAL)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
