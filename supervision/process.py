"""The end of a child process, which is the same for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, ClassVar

import structlog

if TYPE_CHECKING:
    from asyncio.subprocess import Process

log = structlog.get_logger()


class ProcessChild:
    """A child process; `late` is what the log says if it must be killed in the end."""

    late: ClassVar[str]

    def __init__(self, process: Process) -> None:
        self._process = process
        self.last_words = ""

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end; the exit status, negative for a signal."""
        return await self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self, timeout: float) -> None:  # noqa: ASYNC109 -- what follows is SIGKILL, not TimeoutError
        """Let it finish within `timeout` seconds, or kill it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout):
                await self.wait()
        except TimeoutError:
            log.warning(self.late, pid=self.pid, timeout=timeout)
            self.kill()
            await self.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
