"""A gateway in a process of its own, with free ports and a directory of its own, for the benchmarks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, PRIVATE_KEY = "tg_benchmark_key", "tg_private_benchmark_key"
ADMIN, PASSWORD = "admin", "benchmark-admin"
_SETTINGS = f"""
exporters:
  clickhouse:
    embedded:
      users:
        {ADMIN}: {{role: admin, password: {PASSWORD}}}
destinations:
  private:
    api_keys: [{PRIVATE_KEY}]
    privacy:
      mode: content
"""


class Gateway:
    """A gateway process with free ports and a directory of its own; what is sent with PRIVATE_KEY loses its prompts.

    `gateway` is all its processes but ClickHouse's, which are `clickhouse`.
    """

    def __init__(self, directory: Path) -> None:
        self.http, self.grpc, self.clickhouse, self.operations = (f"127.0.0.1:{port}" for port in free_ports(4))
        settings = directory / "settings.yaml"
        settings.write_text(_SETTINGS)
        default = Path(__file__).parents[1] / "config" / "default.yaml"
        environment = os.environ | {
            "TOLLGATE_HTTP_ENDPOINT": self.http,
            "TOLLGATE_GRPC_ENDPOINT": self.grpc,
            "TOLLGATE_CLICKHOUSE_ENDPOINT": self.clickhouse,
            "TOLLGATE_TELEMETRY_ENDPOINT": self.operations,
            "TOLLGATE_DATA": str(directory / "data"),
            "TOLLGATE_API_KEY": KEY,
        }
        command = [str(Path(sys.executable).with_name("tollgate")), "serve", "--config", str(default)]
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--config", str(settings)], env=environment, stdout=subprocess.DEVNULL, stderr=log
            )
        while not self._is_ready():
            assert self.process.poll() is None, (directory / "log").read_text()
            time.sleep(0.05)
        clickhouse: int = self.status()["clickhouse"]["pid"]
        self.gateway = Processes(self.process.pid, without=frozenset({clickhouse}))
        self.processes = {"gateway": self.gateway, "clickhouse": Processes(clickhouse)}

    def _is_ready(self) -> bool:
        try:
            return bool(self.status()["ready"])
        except OSError:
            return False

    def status(self) -> dict[str, Any]:
        """What /status says."""
        with urllib.request.urlopen(f"http://{self.operations}/status", timeout=10) as response:
            answer: dict[str, Any] = orjson.loads(response.read())
        return answer

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://{self.operations}/metrics", timeout=30) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"tollgate_{name}"))

    def sql(self, sql: str) -> str:
        """Run a query as admin."""
        request = urllib.request.Request(f"http://{self.clickhouse}/?database=tollgate", sql.encode())
        request.add_header("X-ClickHouse-User", ADMIN)
        request.add_header("X-ClickHouse-Key", PASSWORD)
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                text: str = response.read().decode()
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from error
        return text

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far, by process."""
        return {name: processes.cpu_seconds() for name, processes in self.processes.items()}

    def resident_bytes(self) -> dict[str, int]:
        """Memory in use, by process."""
        return {name: processes.resident_bytes() for name, processes in self.processes.items()}

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def free_ports(count: int) -> Iterator[int]:
    """TCP ports of 127.0.0.1 that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    for each in sockets:
        with closing(each):
            yield each.getsockname()[1]
