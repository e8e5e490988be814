"""Where the spools are: one directory for each worker process, numbered, in the data directory's `spool`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def spool_directory(data_directory: Path, worker: int) -> Path:
    """The directory of a worker's own spool."""
    return data_directory / "spool" / str(worker)


def spool_directories(data_directory: Path) -> list[Path]:
    """All spools that there are, those of workers that are no more among them."""
    found = (path for path in (data_directory / "spool").glob("*") if path.is_dir() and path.name.isdigit())
    return sorted(found, key=lambda path: int(path.name))
