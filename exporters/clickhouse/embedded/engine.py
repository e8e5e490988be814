"""The engine as the event loop sees it: queries run on bounded pools of threads, where chdb releases the GIL.

One engine per process, on one database directory, from the first connection to the last.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from exporters.clickhouse.embedded.connections import Connections
from exporters.clickhouse.embedded.errors import (
    ACCESS_DENIED,
    QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    ClickHouseError,
)
from exporters.clickhouse.embedded.execution import Execution
from exporters.clickhouse.embedded.sessions import Sessions
from exporters.clickhouse.embedded.users import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from exporters.clickhouse.embedded.query import Query
    from exporters.clickhouse.embedded.sessions import Session
    from exporters.clickhouse.embedded.users import User

_READERS: Final = 16
_ADMINS: Final = 4
_KILLERS: Final = 2
_WRITERS: Final = 8  # as many for the gateway alone: what others ask never keeps its inserts waiting
_SWEEP: Final = 1.0  # seconds between looks for sessions whose time is over


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

    Raises ImportError without chdb, and ClickHouseError or OSError where the directory does not open.
    """

    def __init__(self, path: Path, backups: Path, max_server_memory_usage: int) -> None:
        self._connections = Connections(path, backups, max_server_memory_usage)
        self.facts = _facts(self._connections)
        self._readers = ThreadPoolExecutor(_READERS, "clickhouse-read")
        self._writers = ThreadPoolExecutor(_WRITERS, "clickhouse-write")
        self._own = ThreadPoolExecutor(_WRITERS, "clickhouse-own")
        self._killers = ThreadPoolExecutor(_KILLERS, "clickhouse-kill")
        self._admins = ThreadPoolExecutor(_ADMINS, "clickhouse-admin")
        self._controller = ThreadPoolExecutor(1, "clickhouse-control")
        self._sessions = Sessions(time.monotonic)
        self._running: Counter[str] = Counter()
        self._executions: dict[str, Execution | None] = {}
        loop = asyncio.get_running_loop()
        self._connections.let_go = lambda query_id: _called_in(loop, self._let_go, query_id)
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def queries(self) -> int:
        """Queries that run or wait for a thread."""
        return len(self._executions)

    @asynccontextmanager
    async def admitted(self, user: User, query_id: str, parameters: Mapping[str, str]) -> AsyncIterator[Admission]:
        """Let a user's query in, with the session that it names; raises ClickHouseError where it may not run now.

        A query that still runs at the end, as its client went away, is ended.
        """
        self._require_room(user, query_id)
        session = self._sessions.acquire(user.name, parameters)
        if session is not None and self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep(), name="sessions")
        self._running[user.name] += 1
        self._executions[query_id] = None
        admission = Admission(self, session)

        async def leave() -> None:
            try:
                await admission.end()
            finally:
                self._running[user.name] -= 1
                self._executions.pop(query_id, None)
                if session is not None:
                    is_last = parameters.get("close_session") in {"1", "true"}
                    await self._close(self._sessions.release(session, close=is_last))

        try:
            yield admission
        finally:
            # It goes on by itself if this request is cancelled once more meanwhile.
            await asyncio.shield(asyncio.create_task(leave()))

    def execution(self, query: Query) -> Execution:
        """A query to be started, on the threads of its kind; raises ClickHouseError."""
        made = self._executions[query.query_id] = Execution(
            self._connections, query, self._pool(query), self._controller
        )
        return made

    def _let_go(self, query_id: str) -> None:
        execution = self._executions.get(query_id)
        if execution is not None:
            execution.let_go()

    def _pool(self, query: Query) -> ThreadPoolExecutor:
        if query.user.is_own:
            return self._own
        if query.user.role is Role.ADMIN:
            return self._admins
        if query.statement.is_kill:
            return self._killers
        if query.statement.input_format is None:
            return self._readers
        if query.user.role is Role.READER:
            raise ClickHouseError(ACCESS_DENIED, f"{query.user.name}: Not enough privileges. A reader may not insert")
        return self._writers

    async def check(self) -> None:
        """Come back once the engine has answered; raises ClickHouseError."""
        await asyncio.wrap_future(self._controller.submit(self._connections.check))

    def close(self) -> None:
        """Close the engine; the caller sees to it that no query runs."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for pool in (self._readers, self._writers, self._own, self._killers, self._admins, self._controller):
            pool.shutdown()
        self._connections.close()

    def _require_room(self, user: User, query_id: str) -> None:
        limit = user.limits.max_concurrent_queries
        if limit and self._running[user.name] >= limit:
            raise ClickHouseError(
                TOO_MANY_SIMULTANEOUS_QUERIES,
                f"Too many simultaneous queries for user {user.name}. "
                f"Current: {self._running[user.name]}, maximum: {limit}",
            )
        if query_id in self._executions:
            raise ClickHouseError(
                QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING, f"Query with id = {query_id[:60]} is already running."
            )

    async def _sweep(self) -> None:
        """Close the sessions whose time is over, for as long as there are any."""
        while len(self._sessions):
            await asyncio.sleep(_SWEEP)
            for connection in self._sessions.expired():
                await self._close(connection)
        self._sweeping = None

    async def _close(self, connection: Any) -> None:
        if connection is not None:
            await asyncio.wrap_future(self._controller.submit(connection.close))


class Admission:
    """The place of one request in the engine: its session, and the query that it runs."""

    def __init__(self, engine: Engine, session: Session | None) -> None:
        self.session = session
        self._engine = engine
        self._execution: Execution | None = None

    async def run(self, query: Query) -> Execution:
        """Begin to run a query; raises ClickHouseError."""
        self._execution = self._engine.execution(query)
        await self._execution.start()
        return self._execution

    async def end(self) -> None:
        """End the query."""
        if self._execution is not None:
            await self._execution.end()


def _called_in(loop: asyncio.AbstractEventLoop, function: Callable[[str], None], argument: str) -> None:
    """Call a function on the loop, and come back when it has returned; from another thread."""

    async def call() -> None:
        function(argument)

    asyncio.run_coroutine_threadsafe(call(), loop).result()


def _facts(connections: Connections) -> Facts:
    version, timezone, compression = connections.column(
        "SELECT arrayJoin([version(), timezone(), "
        "(SELECT value FROM system.settings WHERE name = 'enable_http_compression')])"
    )
    formats = connections.column("SELECT concat(lower(name), '\t', content_type) FROM system.formats WHERE is_output")
    return Facts(version, timezone, compression == "1", dict(line.split("\t") for line in formats))
