"""Keeps one child process running: starts another one when it dies, and kills one that hangs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_LATE_TWICE: Final = 2
_RAN_WELL: Final = 60.0  # seconds after which a death is a new one, not the next of a row

log = structlog.get_logger()


class StartError(Exception):
    """A child does not start; the message is a sentence that says what to do."""


class Child(Protocol):
    """A child process that runs."""

    @property
    def pid(self) -> int:
        """The process id."""

    @property
    def last_words(self) -> str:
        """What it said last, for the log."""

    async def wait(self) -> int:
        """Wait for its end; the exit status, negative for a signal."""

    async def is_alive(self, timeout: float) -> bool:  # noqa: ASYNC109 -- lateness is an answer here
        """Whether it gives a sign of life within `timeout` seconds."""

    def kill(self) -> None:
        """End it at once."""

    async def end(self, timeout: float) -> None:  # noqa: ASYNC109 -- what follows is SIGKILL, not TimeoutError
        """Let it finish within `timeout` seconds, or kill it."""


ChildT = TypeVar("ChildT", bound=Child)


class Keeper(Generic[ChildT]):
    """Keeps a child that `launch` starts; `launch` returns when the child is ready, or raises StartError.

    `name` is the child's in the log. `delays` are the shortest and the longest time between a death and the next start,
    `watch` says how often the child is asked for a sign of life and how long that may take, in seconds; a child that is
    late twice in a row is killed. `on_restart` is called with the number of restarts when a new child is ready.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[], Awaitable[ChildT]],
        *,
        delays: tuple[float, float],
        watch: tuple[float, float],
        on_restart: Callable[[int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._launch = launch
        self._first_delay, self._longest_delay = delays
        self._watch_interval, self._watch_timeout = watch
        self._on_restart = on_restart
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self.child: ChildT | None = None
        self.restarts = 0

    async def start(self) -> None:
        """Start the child; StartError."""
        if self._task is not None:
            raise RuntimeError(f"{self._name} is already started")
        child = self.child = await self._launch()
        self._task = asyncio.create_task(self._keep(child), name=f"keeper of {self._name}")

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 -- what follows is SIGKILL, not TimeoutError
        """Let the child finish within `timeout` seconds, or kill it; it is not started again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        child, self.child = self.child, None
        if child is not None:
            await child.end(timeout)

    async def _keep(self, child: ChildT) -> None:
        delay = self._first_delay
        while True:
            started = self._clock()
            watch = asyncio.create_task(self._watch(child), name=f"watch over {self._name}")
            try:
                status = await child.wait()
            finally:
                watch.cancel()
            self.child = None
            if self._clock() - started >= _RAN_WELL:
                delay = self._first_delay
            log.error(
                "a child process died and is started again",
                child=self._name,
                how=exit_of(status),
                last_words=child.last_words,
                restart_in=delay,
            )
            child, delay = await self._relaunch(delay)
            self.child = child
            self.restarts += 1
            log.info("a child process is back", child=self._name, pid=child.pid, restarts=self.restarts)
            if self._on_restart is not None:
                try:
                    self._on_restart(self.restarts)
                except Exception:
                    log.exception("what follows a restart failed", child=self._name)

    async def _watch(self, child: ChildT) -> None:
        """Kill a child that hangs, so that another one is started."""
        late = 0
        while late < _LATE_TWICE:
            await asyncio.sleep(self._watch_interval)
            late = 0 if await child.is_alive(self._watch_timeout) else late + 1
        log.error("a child process hangs and is killed", child=self._name, pid=child.pid, timeout=self._watch_timeout)
        child.kill()

    async def _relaunch(self, delay: float) -> tuple[ChildT, float]:
        """Try until a child is ready; with it comes the delay of the next attempt."""
        while True:
            await asyncio.sleep(delay)
            delay = min(2 * delay, self._longest_delay)
            try:
                return await self._launch(), delay
            except Exception as error:  # noqa: BLE001 - no descriptors, no memory, a defect: it is tried again
                reason = str(error) or type(error).__name__
                log.error("a child process does not start", child=self._name, error=reason, restart_in=delay)


def exit_of(status: int) -> str:
    """An exit status in words."""
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
