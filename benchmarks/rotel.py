"""Rotel, a collector in Rust, as the peer: it writes into the ClickHouse of a benchmark's gateway."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gateway import ADMIN, PASSWORD, free_ports
from benchmarks.processes import Processes

if TYPE_CHECKING:
    from benchmarks.gateway import Gateway

TABLE = "otel.otel_traces"
# The columns, codecs and order of the OpenTelemetry Collector's exporter, which Rotel writes for, without its indexes:
# spans_data has fewer, and an index that nobody asks is work for nothing.
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {TABLE}
(
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Links Nested (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
"""


def is_installed() -> bool:
    """Whether there is a Rotel to measure."""
    return importlib.util.find_spec("rotel") is not None


class Rotel:
    """A Rotel process with free ports, its settings as they come but for where it listens and writes."""

    def __init__(self, directory: Path, gateway: Gateway) -> None:
        gateway.sql("CREATE DATABASE IF NOT EXISTS otel")
        gateway.sql(_SCHEMA)
        self.http, grpc = (f"127.0.0.1:{port}" for port in free_ports(2))
        options = {
            "otlp-http-endpoint": self.http,
            "otlp-grpc-endpoint": grpc,
            "exporter": "clickhouse",
            "clickhouse-exporter-endpoint": f"http://{gateway.clickhouse}",
            "clickhouse-exporter-user": ADMIN,
            "clickhouse-exporter-password": PASSWORD,
            "log-file": directory / "rotel.log",
            "pid-file": directory / "rotel.pid",
        }
        command = [str(_binary()), "start", *(f"--{name}={value}" for name, value in options.items())]
        self._log = directory / "rotel.out"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        host, _, port = self.http.partition(":")
        while not _accepts(host, int(port)):
            assert self.process.poll() is None, self.log()
            time.sleep(0.05)
        self.processes = Processes(self.process.pid)

    def log(self) -> str:
        """What it had to say."""
        return self._log.read_text()

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def _binary() -> Path:
    specification = importlib.util.find_spec("rotel")
    assert specification is not None
    assert specification.origin is not None
    return Path(specification.origin).with_name("rotel-agent")


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True
