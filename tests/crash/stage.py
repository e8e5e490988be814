"""What the crashes happen to: a gateway with two workers, a ClickHouse server, and a proxy between them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from gateway.spool.directories import spool_directories
from tests.crash.sender import POISON
from tests.end_to_end.harness import Gateway, until
from tests.exporters.clickhouse.embedded.server import launch
from tests.faults.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SETTINGS = """
exporters:
  clickhouse:
    embedded: null
    endpoint: %s
    username: admin
    password: admin's
    timeout: 2s
    retry_on_failure: {initial_interval: 20ms, max_interval: 100ms}
service:
  workers: 2
  spool: {segment_max_age: 50ms, min_free_disk: 1MiB}
"""
_DISK = 192 << 20
_SMALL = 16 << 10


class Stage:
    """All processes, started and ended together; each can be killed and started again."""

    def __init__(self, directory: Path, free_port: Callable[[], int]) -> None:
        self._directory = directory / "clickhouse"
        self._directory.mkdir()
        self._port = free_port()
        self._is_mounted = False
        self._stack = contextlib.ExitStack()
        self.server = launch(self._directory, self._port)
        place = urlsplit(self.server.url)
        self.proxy = FaultProxy(place.hostname or "", place.port or 0)
        self.gateway = Gateway(directory, free_port, config=_SETTINGS % self.proxy.url)
        self.gateway.clickhouse = place.netloc

    def __enter__(self) -> Self:
        self._stack.callback(lambda: self.server.end(signal.SIGKILL))
        self._stack.enter_context(self.proxy)
        self._mount()
        self._stack.callback(self.gateway.stop, signal.SIGKILL)
        self.gateway.start()
        self.ask(f"ALTER TABLE tollgate.spans_data ADD CONSTRAINT no_poison CHECK SpanName != '{POISON}'")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, sql: str) -> str:
        """Ask ClickHouse itself, as an admin."""
        answer = self.server.ask(sql, "admin")
        assert answer.status == 200, answer.text
        return answer.text

    def kill_clickhouse(self) -> None:
        """Kill -9."""
        self.server.end(signal.SIGKILL)

    def start_clickhouse(self) -> None:
        """Start it on its directory and port."""
        self.server = launch(self._directory, self._port)

    def kill_supervisor(self) -> None:
        """Kill -9 of the gateway's first process, whose end the others follow."""
        self.gateway.stop(signal.SIGKILL)

    def kill_worker(self, chosen: int) -> None:
        """Kill -9 of one of the workers that run."""
        workers = self.workers()
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(workers[chosen % len(workers)], signal.SIGKILL)

    def workers(self) -> list[int]:
        """The process ids of the workers that are ready."""
        return [worker["pid"] for worker in self.gateway.status()["workers"] if worker["ready"]]

    def all_run(self) -> None:
        """Wait until both workers are ready."""
        until(lambda: len(self.workers()) == 2, 60)

    def segments(self, *suffixes: str) -> list[Path]:
        """The files of all spools with one of these suffixes."""
        directories = spool_directories(self.gateway.data)
        return sorted(path for directory in directories for path in directory.iterdir() if path.suffix in suffixes)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Nothing more can be written to the gateway's data, but for a little."""
        if self._is_mounted:
            filler = self.gateway.data / "filler"
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(_SMALL)):
                    pass
            os.truncate(filler, filler.stat().st_size - _SMALL)
            try:
                yield
            finally:
                filler.unlink()
            return
        limited = self.workers()
        for pid in limited:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (_SMALL, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            for pid in limited:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _mount(self) -> None:
        """A small disk of its own for the gateway's data, where that is permitted."""
        self.gateway.data.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tollgate", str(self.gateway.data)]
        self._is_mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
        if self._is_mounted:
            self._stack.callback(subprocess.run, ["umount", "--lazy", str(self.gateway.data)], check=True)
