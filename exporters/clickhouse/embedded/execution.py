"""One query under way: prepared and run on a thread, its result read from a pipe as the engine writes it.

The pipe is the backpressure: a client that reads slowly keeps the engine waiting, and no result is ever held whole.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from exporters.clickhouse.embedded.pipe import Pipe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from concurrent.futures import Executor, Future

    from exporters.clickhouse.embedded.connections import Connections
    from exporters.clickhouse.embedded.prepared import Prepared
    from exporters.clickhouse.embedded.query import Progress, Query, Result

_AGAIN: Final = 0.2  # seconds until a query that does not end is killed again: it may not have begun before


class Execution:
    """A query from its preparation to its end; `end` must be called, whatever happened."""

    def __init__(self, connections: Connections, query: Query, pool: Executor, controller: Executor) -> None:
        self._connections = connections
        self._query = query
        self._pool = pool
        self._controller = controller
        self._pipe = Pipe()
        self._job: Future[Prepared] | None = None
        self._preparing: asyncio.Future[Prepared] | None = None
        self._prepared: Prepared | None = None
        self._running: asyncio.Future[Result] | None = None

    async def start(self) -> None:
        """Check the query and begin to run it; raises ClickHouseError."""
        self._job = self._pool.submit(self._connections.prepare, self._query, self._pipe.path)
        self._preparing = asyncio.wrap_future(self._job)
        prepared = self._prepared = await asyncio.shield(self._preparing)
        self._running = asyncio.get_running_loop().run_in_executor(self._pool, self._run, prepared)

    @property
    def output_format(self) -> str:
        """The format of the result, once the query is started."""
        return self._prepared.output_format if self._prepared is not None else ""

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        return self._running is not None and not self._running.done()

    async def result(self) -> Result:
        """The end of the query; raises ClickHouseError. What was piped must be read first."""
        assert self._running is not None  # noqa: S101 -- called after start
        return await asyncio.shield(self._running)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The result as it is made; raises ClickHouseError at its end if the query failed."""
        if self._prepared is not None and self._prepared.is_piped:
            while piece := await self._pipe.read():
                yield piece
        data = (await self.result()).data
        if data:
            yield data

    async def progress(self) -> Progress | None:
        """The counts so far, None once the query has ended."""
        work = self._controller.submit(self._connections.progress, self._query.label)
        return await asyncio.wrap_future(work)

    def let_go(self) -> None:
        """Read no more of the result: a query that is killed must not wait for its client."""
        self._pipe.close_reading()

    async def end(self) -> None:
        """End the query, also one that still runs, and give everything free."""
        if self._job is not None and self._preparing is not None and not self._job.cancel() and self._prepared is None:
            await asyncio.wait({self._preparing})
            self._prepared = self._preparing.result() if self._preparing.exception() is None else None
        if self._running is not None:
            await self._stop(self._running)
        self._pipe.close()
        if self._prepared is not None:
            await asyncio.wrap_future(self._pool.submit(self._prepared.close))

    async def _stop(self, running: asyncio.Future[Result]) -> None:
        # What only reads is killed. What writes is let finish: whoever sent it may have gone, but sent it whole.
        while not running.done():
            if self._prepared is not None and self._prepared.reads_only:
                self._pipe.close_reading()
                await asyncio.wrap_future(self._controller.submit(self._connections.stop, self._query.label))
            await asyncio.wait({running}, timeout=_AGAIN)
        running.exception()  # told already, or of no more interest to anybody

    def _run(self, prepared: Prepared) -> Result:
        try:
            return prepared.run()
        finally:
            self._pipe.end()
