"""One child process that serves ClickHouse: started, watched until it answers, its log relayed, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import TYPE_CHECKING, Final

import aiohttp
import structlog

from supervision import ProcessChild

if TYPE_CHECKING:
    from pathlib import Path

    from exporters.clickhouse.embedded.users import Users

_INTERVAL: Final = 0.02
_LINE_LIMIT: Final = 1 << 20
# Of the environment, which may hold secrets that are none of a query's business.
_PASSED_ON: Final = re.compile(r"PATH|HOME|LANG|TZ|TMPDIR|(LC|LD|DYLD|PYTHON|SSL)_?\w*")
_LEVELS: Final = logging.getLevelNamesMapping()

log = structlog.get_logger()


class ChildProcess(ProcessChild):
    """A running child that answers at `url`; `last_words` are the last line it wrote to stderr."""

    late = "the embedded ClickHouse does not end in time and is killed"

    def __init__(self, process: Process, url: str) -> None:
        super().__init__(process)
        self._url = url
        self._relay = asyncio.create_task(self._relay_log())

    @classmethod
    async def spawn(cls, path: Path, host: str, port: int, *, users: Users, memory: int, grace: float) -> ChildProcess:
        """Start a child. It ends with this process, whose end closes its stdin, and not by the terminal's SIGINT.

        `memory` is the most its queries may use together, in bytes; 0 leaves it to the engine. `grace` is how many
        seconds they have at the end. The users go to its stdin, where no list of processes shows them.
        """
        module = "exporters.clickhouse.embedded"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # whatever the working directory holds is not what `-m` must find
            *("-m", module, "--path", str(path), "--host", host, "--port", str(port), "--exit-with-stdin"),
            *("--users-on-stdin", "--max-server-memory-usage", str(memory), "--grace", str(grace)),
            env={name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)},
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=PIPE,
            limit=_LINE_LIMIT,
            start_new_session=True,
        )
        if process.stdin is not None:
            # A child that has already ended has closed it; its end is what the caller waits for.
            with contextlib.suppress(RuntimeError, ConnectionError):
                process.stdin.write(users.dump().encode() + b"\n")
        return cls(process, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def wait(self) -> int:
        """Wait for the child's end, and for its last words; the exit status, negative for a signal."""
        status = await super().wait()
        await asyncio.shield(self._relay)  # others may wait for it too
        return status

    async def answers(self) -> None:
        """Wait until the child answers, which it does once the engine is open."""
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{self._url}/ping") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(_INTERVAL)

    async def is_alive(self, timeout: float) -> bool:  # noqa: ASYNC109 -- lateness is an answer here
        """Whether the engine in the child answers within `timeout` seconds."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(timeout)) as session,
                session.get(f"{self._url}/replicas_status") as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _relay_log(self) -> None:
        stderr = self._process.stderr
        while stderr is not None:
            try:
                line = await stderr.readline()
            except ValueError:
                continue  # longer than the limit, and dropped by the reader
            if not line:
                break
            self.last_words = line.decode(errors="replace").strip()
            _log_line(self.last_words)


def _log_line(line: str) -> None:
    try:
        fields = json.loads(line)
        level = _LEVELS.get(str(fields.pop("level")).upper(), logging.INFO)
        event = str(fields.pop("event"))
        fields.pop("timestamp", None)
    except (ValueError, KeyError, AttributeError):
        log.warning("clickhouse_said", line=line)
    else:
        log.log(level, event, **fields)
