"""A lock that a process holds as long as it lives: two on one directory would destroy it."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_INTERVAL: Final = 0.05


class LockedError(Exception):
    """Another process holds the lock."""


@asynccontextmanager
async def file_lock(path: Path, timeout: float = 0) -> AsyncIterator[None]:  # noqa: ASYNC109 -- its error says more
    """Hold a file, made if need be, for this process; the kernel gives it free when the process dies.

    Waits up to `timeout` seconds, because the process before this one may just be ending; then raises LockedError.
    Raises OSError where the file cannot be made or written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = asyncio.get_running_loop().time() + timeout
        while not _try_lock(descriptor):
            if asyncio.get_running_loop().time() >= deadline:
                raise LockedError(f"{path} is locked by another process")
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
