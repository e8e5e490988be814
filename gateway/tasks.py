"""Tasks that run until what they belong to is stopped, and starts that may be broken off."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextlib import AsyncExitStack


log = structlog.get_logger()

ResultT = TypeVar("ResultT")


def told_to_stop() -> asyncio.Event:
    """Set at the first SIGTERM or SIGINT from now on."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def start_unless(stopping: asyncio.Event, start: Coroutine[Any, Any, ResultT]) -> ResultT | None:
    """What a start returns, or None if it was broken off because it shall stop; whatever the start raises."""
    starting = asyncio.create_task(start)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if starting.done():
        return starting.result()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    return None


def _tell_of_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a task has ended by a defect and does not go on", task=task.get_name(), exc_info=task.exception())


def begin(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run something as a task; if it ends by an exception, the log says so."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_of_failure)
    return task


def run_until_closed(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
    """Run something as a task that is cancelled when the stack is closed."""
    task = begin(work, name)

    async def cancel() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(cancel)
