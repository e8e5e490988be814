"""A worker as its supervisor sees it: a child process that is told what to do, asked for reports, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from asyncio.subprocess import PIPE, Process
from typing import TYPE_CHECKING, Any, Final

import orjson

from supervision import ProcessChild, StartError, exit_of

if TYPE_CHECKING:
    from gateway.worker.setup import Setup

_START_TIMEOUT: Final = 600.0  # with a large spool to count
_END_TIMEOUT: Final = 5.0
_LINE_LIMIT: Final = 1 << 26


class WorkerError(StartError):
    """A worker does not start; `lines` say what is wrong with the settings or the machine."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class WorkerProcess(ProcessChild):
    """A worker that is ready. `last_report` is what it reported last, with `metrics` and whether it is `ready`.

    It writes to the log itself, and may be killed at any moment: what it acknowledged is on disk.
    """

    late = "a worker does not end in time and is killed"

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self._numbers = itertools.count(1)
        self._asking = asyncio.Lock()
        self.last_report: dict[str, Any] = {"ready": True, "metrics": []}

    @classmethod
    async def launch(cls, setup: Setup) -> WorkerProcess:
        """Start a worker and wait until it is ready; WorkerError. It is not ended by the terminal's SIGINT."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # whatever the working directory holds is not what `-m` must find
            *("-m", "gateway.worker"),
            stdin=PIPE,
            stdout=PIPE,
            limit=_LINE_LIMIT,
            start_new_session=True,
        )
        worker = cls(process)
        try:
            await worker._begin(setup)
        except BaseException:
            worker.kill()
            await asyncio.shield(worker.end(_END_TIMEOUT))
            raise
        return worker

    async def _begin(self, setup: Setup) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        # A worker that has already ended has closed it; its end is what follows.
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(setup.dump())
            await self._process.stdin.drain()
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                answer = await self._read()
        except TimeoutError:
            raise WorkerError([f"worker {setup.number} is not ready after {_START_TIMEOUT:g} s"]) from None
        if answer is None:
            status = exit_of(await self._process.wait())
            raise WorkerError([f"worker {setup.number} did not start ({status}); the log above says why"])
        if "failed" in answer:
            raise WorkerError(answer["failed"])

    async def report(self, timeout: float, *, refresh_keys: bool = False) -> None:  # noqa: ASYNC109 - lateness is borne
        """Have the worker report; if it says nothing within `timeout` seconds, what it said last stands."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(timeout), self._asking:
                await self._ask(refresh_keys=refresh_keys)

    async def is_alive(self, timeout: float) -> bool:  # noqa: ASYNC109 - lateness is an answer here
        """Whether it answers within `timeout` seconds that it takes requests."""
        try:
            async with asyncio.timeout(timeout), self._asking:
                await self._ask()
        except (TimeoutError, ConnectionError):
            return False
        return bool(self.last_report["ready"])

    async def _ask(self, *, refresh_keys: bool = False) -> None:
        """Ask for a report; answers to earlier questions, that nobody waited for, are passed over."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        number = next(self._numbers)
        self._process.stdin.write(orjson.dumps({"number": number, "refresh_keys": refresh_keys}) + b"\n")
        await self._process.stdin.drain()
        while True:
            answer = await self._read()
            if answer is None:
                raise ConnectionResetError("the worker has ended")
            self.last_report = answer["report"]
            if answer["number"] == number:
                return

    async def _read(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        line = await self._process.stdout.readline()
        return orjson.loads(line) if line else None
