"""An embedded ClickHouse with users, in a process of its own as the gateway runs it, and a plain client of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters.clickhouse.embedded import Limits, Role, User, Users, hash_password
from tests.end_to_end.harness import ask, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

GIB = 1 << 30
LIMITS = Limits(max_memory_usage=200_000_000, max_execution_time=10.0, max_result_bytes=GIB, max_concurrent_queries=4)
USERS = {
    "default": User("default", Role.READER, limits=LIMITS),
    "ann": User("ann", Role.READER, hash_password("ann's"), LIMITS),
    "writer": User("writer", Role.WRITER, hash_password("writer's")),
    "admin": User("admin", Role.ADMIN, hash_password("admin's")),
}
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that is read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    @property
    def code(self) -> int:
        """ClickHouse's error code, 0 for none."""
        return int(self.headers.get("X-ClickHouse-Exception-Code", 0))

    @property
    def summary(self) -> dict[str, int]:
        """The counts of the query."""
        return {name: int(count) for name, count in json.loads(self.headers["X-ClickHouse-Summary"]).items()}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs; `process` is its process."""

    url: str
    process: subprocess.Popen[bytes]
    directory: Path

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        self.process.wait(_PATIENCE)
        if self.process.stdin is not None:
            self.process.stdin.close()

    def ask(
        self,
        sql: bytes | str = b"",
        as_user: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        **parameters: str,
    ) -> Answer:
        """Run a query as one of USERS, in its own words of HTTP; without `as_user` the request names none."""
        body = sql.encode() if isinstance(sql, str) else sql
        sent = {"X-ClickHouse-User": as_user, "X-ClickHouse-Key": f"{as_user}'s"} if as_user else {}
        if as_user == "default":
            sent.pop("X-ClickHouse-Key")
        query = urllib.parse.urlencode(parameters)
        data = body if method == "POST" else None
        got = ask(f"{self.url}/?{query}", data, sent | dict(headers or {}), method)
        return Answer(got.status, got.headers, got.body)


def launch(directory: Path, port: int, *, memory: int = GIB) -> Server:
    """Start a server with USERS on a directory, and wait until it answers."""
    place = ["--path", str(directory / "data"), "--port", str(port), "--exit-with-stdin", "--users-on-stdin"]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "exporters.clickhouse.embedded", *place, "--max-server-memory-usage", str(memory)],
            stdin=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdin is not None
    process.stdin.write(Users(USERS.values()).dump().encode() + b"\n")
    process.stdin.flush()
    server = Server(f"http://127.0.0.1:{port}", process, directory)
    try:
        until(lambda: _answers(server) or process.poll() is not None)
        assert process.poll() is None, (directory / "log").read_text()
    except BaseException:
        server.end()
        raise
    return server


@contextmanager
def running(directory: Path, free_port: Callable[[], int], *, memory: int = GIB) -> Iterator[Server]:
    """A server with USERS on a directory, while the test runs."""
    server = launch(directory, free_port(), memory=memory)
    try:
        yield server
    finally:
        server.end()


def _answers(server: Server) -> bool:
    try:
        return server.ask(method="GET").status == 200
    except OSError:
        return False
