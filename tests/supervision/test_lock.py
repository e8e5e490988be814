"""A lock that one process holds at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from supervision import LockedError, file_lock

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_lock_is_held_by_one_and_free_afterwards(tmp_path: Path) -> None:
    """While it is held others are refused at once, or wait as long as they say; then it can be had again."""
    path = tmp_path / "lock"
    async with file_lock(path):
        for patience in (0, 0.06):
            with pytest.raises(LockedError, match="locked by another process"):
                async with file_lock(path, patience):
                    pass
        waiting = asyncio.create_task(_hold(path))
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await waiting


async def _hold(path: Path) -> None:
    async with file_lock(path, 10):
        pass
