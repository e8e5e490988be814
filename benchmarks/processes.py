"""CPU time and memory of a process and its descendants, from /proc."""

from __future__ import annotations

import os
from pathlib import Path


class Processes:
    """A process and all its descendants, those that come later too, without some of them (and theirs)."""

    def __init__(self, root: int, without: frozenset[int] = frozenset()) -> None:
        self._root = root
        self._without = without
        self._seen: dict[tuple[int, int], float] = {}

    def pids(self) -> list[int]:
        """The processes that are there now."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and (fields := _fields(entry)):
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found, waiting = [], [self._root]
        while waiting:
            pid = waiting.pop()
            if pid not in self._without:
                found.append(pid)
                waiting += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """CPU time so far. Of a process that has ended: as it was when it was last looked at."""
        for pid in self.pids():
            if fields := _fields(Path(f"/proc/{pid}")):
                self._seen[pid, int(fields[19])] = _seconds(fields)
        return sum(self._seen.values())

    def resident_bytes(self) -> int:
        """Memory in use; what processes share is counted for each."""
        return sum(_resident(pid) for pid in self.pids())


def machine_seconds() -> float:
    """CPU time so far of everything on this machine."""
    user, nice, system, _, _, interrupts, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")


def thread_seconds(pid: int) -> dict[int, float]:
    """CPU time so far of each thread of a process."""
    threads = {int(entry.name): _fields(entry) for entry in Path(f"/proc/{pid}/task").iterdir()}
    return {thread: _seconds(fields) for thread, fields in threads.items() if fields}


def _fields(entry: Path) -> list[str]:
    """What /proc says of a process or thread after its name, from its state on; nothing of one that has ended."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _seconds(fields: list[str]) -> float:
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0
