"""The engine as the event loop sees it: queries run on bounded pools of threads, where chdb releases the GIL.

One engine per process, on one database directory, from the first connection to the last.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from exporters.clickhouse.embedded.connections import Connections, Stream
from exporters.clickhouse.embedded.errors import TOO_MANY_SIMULTANEOUS_QUERIES, ClickHouseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporters.clickhouse.embedded.query import Query, Result

_READERS: Final = 16
_WRITERS: Final = 8  # of their own, so that slow reads never keep the exporter's inserts waiting
_MAX_QUERIES: Final = 200  # running and waiting; ClickHouse calls it max_concurrent_queries

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the HTTP layer tells clients of the engine, read once at the start.

    `content_types` maps a format's lower-case name to its Content-Type.
    """

    version: str
    timezone: str
    http_compression: bool
    content_types: dict[str, str]


class Engine:
    """The open engine on one database directory.

    Raises ImportError without chdb, and ClickHouseError where the directory does not open.
    """

    def __init__(self, path: Path) -> None:
        self._connections = Connections(path)
        # The engine shuts down with its last connection; this one keeps it up between requests.
        self._keeper = self._connections.open()
        self.facts = _facts(self._keeper)
        self._readers = ThreadPoolExecutor(_READERS, "clickhouse-read")
        self._writers = ThreadPoolExecutor(_WRITERS, "clickhouse-write")
        self._queries = 0

    @property
    def queries(self) -> int:
        """Queries that run or wait for a thread."""
        return self._queries

    async def run(self, query: Query) -> Result:
        """Run a query to its end; raises ClickHouseError."""
        self._admit()
        pool = self._readers if query.statement.input_format is None else self._writers
        return await self._counted(pool, lambda: self._connections.run(query))

    async def stream(self, query: Query) -> Stream | None:
        """Begin a query whose result is read piece by piece, or None where the engine only runs it whole."""
        self._admit()
        return await self._counted(self._readers, lambda: self._connections.stream(query))

    async def fetch(self, stream: Stream) -> bytes | None:
        """The next piece of a result, or None at its end; raises ClickHouseError."""
        return await self._counted(self._readers, stream.fetch)

    async def close_stream(self, stream: Stream) -> None:
        """End a query read piece by piece, also one that still runs."""
        await self._counted(self._readers, stream.close)

    def close(self) -> None:
        """Close the engine; the caller sees to it that no query runs."""
        self._readers.shutdown()
        self._writers.shutdown()
        self._keeper.close()

    def _admit(self) -> None:
        if self._queries >= _MAX_QUERIES:
            raise ClickHouseError(
                TOO_MANY_SIMULTANEOUS_QUERIES, f"Too many simultaneous queries. Maximum: {_MAX_QUERIES}"
            )

    async def _counted(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        self._queries += 1
        future = asyncio.get_running_loop().run_in_executor(pool, work)
        # Counted by the thread's end, not by the request's: a client that goes away leaves its query running.
        future.add_done_callback(self._uncount)
        return await asyncio.shield(future)

    def _uncount(self, _: asyncio.Future[T]) -> None:
        self._queries -= 1


def _facts(connection: Any) -> Facts:
    def rows(sql: str) -> list[list[str]]:
        text: str = connection.query(sql, "TabSeparated").bytes().decode()
        return [line.split("\t") for line in text.splitlines()]

    ((version, timezone, compression),) = rows(
        "SELECT version(), timezone(), (SELECT value FROM system.settings WHERE name = 'enable_http_compression')"
    )
    content_types = rows("SELECT lower(name), content_type FROM system.formats WHERE is_output")
    return Facts(version, timezone, compression == "1", {row[0]: row[1] for row in content_types})
