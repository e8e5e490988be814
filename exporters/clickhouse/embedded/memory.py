"""How much memory this machine, or the container around this process, has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CGROUP_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_memory(limit_files: tuple[Path, ...] = _CGROUP_LIMITS) -> int:
    """Bytes of memory: the machine's, or a container's limit where one of the files tells a lower one."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *(limit for file in limit_files if (limit := _limit(file)))])


def _limit(file: Path) -> int:
    try:
        text = file.read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0  # "max" is no limit
