"""A real Tollgate for tests: `tollgate serve` in a process of its own, as its users run it.

It listens on free ports of 127.0.0.1, and what it writes is in a directory of the test's own.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import clickhouse_connect
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clickhouse_connect.driver.client import Client

TOLLGATE = str(Path(sys.executable).with_name("tollgate"))
KEY = "tg_end_to_end_key"
JSON, PROTOBUF = "application/json", "application/x-protobuf"
VIEWS = ("spans", "llm_calls", "otel_traces", "OPENROUTER_TRACES")
_PATIENCE = 30.0
_INTERVAL = 0.02
_METRIC = re.compile(r"^(tollgate_\w+)(?:\{(.*)\})? ([^ ]+)$", re.MULTILINE)


def until(happened: Callable[[], Any], seconds: float = _PATIENCE) -> Any:
    """Wait for something in another process, for a bounded time; returns the true value that came."""
    deadline = time.monotonic() + seconds
    while not (value := happened()):
        assert time.monotonic() < deadline, f"nothing happened within {seconds:g} s"
        time.sleep(_INTERVAL)
    return value


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command returned and printed."""

    returncode: int
    stdout: str
    stderr: str


def ask(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str = "") -> Answer:
    """One HTTP request, whatever the status of its answer."""
    request = urllib.request.Request(
        url, body, dict(headers or {}), method=method or ("GET" if body is None else "POST")
    )
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as response:
            return Answer(response.status, dict(response.headers), response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


def to_protobuf(document: Mapping[str, Any]) -> ExportTraceServiceRequest:
    """An OTLP/JSON document as the protobuf message of the same meaning."""
    with_bytes = re.sub(
        r'"((?:trace|span|parentSpan)Id)": "([0-9a-fA-F]*)"',
        lambda match: f'"{match[1]}": "{base64.b64encode(bytes.fromhex(match[2])).decode()}"',
        json.dumps(document),
    )
    return json_format.Parse(with_bytes, ExportTraceServiceRequest())


class Gateway:
    """A Tollgate that can be started, stopped, killed and asked, on the same ports and directory each time."""

    def __init__(
        self,
        directory: Path,
        free_port: Callable[[], int],
        *,
        config: str = "",
        key: str = KEY,
        database: str = "tollgate",
        before: Callable[[], None] | None = None,
    ) -> None:
        """`config` is laid over the default settings, `before` runs in the process before Tollgate does."""
        self.directory = directory
        self.data = directory / "data"
        self.http, self.grpc, self.clickhouse, self.operations = (f"127.0.0.1:{free_port()}" for _ in range(4))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")},
            "TOLLGATE_HTTP_ENDPOINT": self.http,
            "TOLLGATE_GRPC_ENDPOINT": self.grpc,
            "TOLLGATE_CLICKHOUSE_ENDPOINT": self.clickhouse,
            "TOLLGATE_TELEMETRY_ENDPOINT": self.operations,
            "TOLLGATE_DATA": str(self.data),
        }
        if key:
            self.environment["TOLLGATE_API_KEY"] = key
        self.key = key
        self.database = database
        self.options: list[str] = []
        if config:
            (directory / "settings.yaml").write_text(config)
            default = Path(__file__).parents[2] / "config" / "default.yaml"
            self.options = ["--config", str(default), "--config", str(directory / "settings.yaml")]
        self._before = before
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None

    @property
    def url(self) -> str:
        """The base URL of OTLP/HTTP."""
        return f"http://{self.http}"

    @property
    def log(self) -> str:
        """Everything it wrote to standard error, in all runs."""
        return (self.directory / "stderr").read_text()

    @property
    def output(self) -> str:
        """Everything it wrote to standard output, in all runs."""
        return (self.directory / "stdout").read_text()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process, without waiting."""
        with (self.directory / "stdout").open("ab") as stdout, (self.directory / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(
                [TOLLGATE, "serve", *self.options],
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                preexec_fn=self._before,  # noqa: PLW1509 - only sets limits
            )
        return self._process

    def start(self) -> Gateway:
        """Start it and wait until it is ready."""
        process = self.launch()

        def is_ready() -> bool:
            assert process.poll() is None, f"Tollgate ended with status {process.returncode}: {self.log}"
            try:
                return ask(f"http://{self.operations}/readyz").status == 200
            except OSError:
                return False

        until(is_ready)
        return self

    def run(self, *arguments: str) -> Outcome:
        """Run another `tollgate` command with the same settings and environment, in this process."""
        stdout, stderr = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            status = main([*arguments, *self.options])
        return Outcome(status, stdout.getvalue(), stderr.getvalue())

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 10.0) -> int:
        """Send a signal and wait for the end; the exit status. Does nothing if it does not run."""
        if self._client is not None:
            self._client.close()
            self._client = None
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def post(
        self, body: bytes, content_type: str = JSON, path: str = "/v1/traces", key: str | None = None, **headers: str
    ) -> Answer:
        """Send an export request; a keyword such as `content_encoding` is a header."""
        sent = {"Content-Type": content_type, "Authorization": f"Bearer {self.key if key is None else key}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(f"{self.url}{path}", body, sent)

    def deliver(self, document: Mapping[str, Any], content_type: str = JSON) -> None:
        """Send an OTLP/JSON document in either encoding and have it acknowledged."""
        body = json.dumps(document).encode() if content_type == JSON else to_protobuf(document).SerializeToString()
        answer = self.post(body, content_type)
        assert answer.status == 200, answer
        assert answer.body == (b"{}" if content_type == JSON else b"")

    def connection(self) -> http.client.HTTPConnection:
        """A connection to OTLP/HTTP, for what no well-behaved client would send."""
        return http.client.HTTPConnection(self.http, timeout=_PATIENCE)

    def status(self) -> dict[str, Any]:
        """What /status says."""
        answer: dict[str, Any] = json.loads(ask(f"http://{self.operations}/status").body)
        return answer

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = ask(f"http://{self.operations}/metrics").body.decode()
        return sum(float(value) for found, _, value in _METRIC.findall(text) if found == f"tollgate_{name}")

    def ledger_closes(self) -> bool:
        """Whether what was accepted in all runs is stored, dead-lettered, damaged or still in the spool."""
        settled = sum(self.metric(f"{name}_spans_total") for name in ("stored", "dead_lettered", "damaged"))
        return self.metric("accepted_spans_total") == settled + self.metric("spool_spans")

    def is_drained(self) -> bool:
        """Whether ClickHouse has everything that is in the spool."""
        if any(path.suffix in {".open", ".sealed"} for path in (self.data / "spool").glob("*/*")):
            return False
        return self.metric("spool_spans") == 0

    def query(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query in the gateway's database, by column name."""
        if self._client is None:
            host, _, port = self.clickhouse.partition(":")
            self._client = clickhouse_connect.get_client(
                host=host, port=int(port), database=self.database, autogenerate_session_id=False
            )
        return list(self._client.query(sql, parameters=parameters).named_results())

    def count(self, table: str, where: str = "1", **parameters: Any) -> int:
        """The number of rows in a view or table."""
        (row,) = self.query(f"SELECT count() AS rows FROM {table} WHERE {where}", **parameters)
        rows: int = row["rows"]
        return rows


def as_admin(gateway: Gateway, sql: str) -> str:
    """Run a statement as the user `admin`, whose password in the gateway's settings is `admin's`."""
    asked = urllib.request.Request(f"http://{gateway.clickhouse}/?database={gateway.database}", sql.encode())
    asked.add_header("X-ClickHouse-User", "admin")
    asked.add_header("X-ClickHouse-Key", "admin's")
    with urllib.request.urlopen(asked, timeout=_PATIENCE) as response:
        text: str = response.read().decode()
    return text


def span(trace_id: str, span_id: str, start: int, **fields: Any) -> dict[str, Any]:
    """A span of one millisecond in OTLP/JSON."""
    times = {"startTimeUnixNano": str(start), "endTimeUnixNano": str(start + 1_000_000)}
    return {"traceId": trace_id, "spanId": span_id, "name": "work", "kind": 1, **times, **fields}


def request(*spans: dict[str, Any]) -> dict[str, Any]:
    """An export request of spans in OTLP/JSON."""
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def spans_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All spans of an OTLP/JSON document."""
    return [one for resource in document["resourceSpans"] for scope in resource["scopeSpans"] for one in scope["spans"]]
