"""The worker's process: told what to do by the first line of its standard input, asked for reports by the others.

It ends by SIGTERM, in order, and at once when its standard input closes: then its supervisor is gone, and what it
acknowledged is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
import uvloop

from config import ConfigError
from gateway.tasks import start_unless, told_to_stop
from gateway.telemetry.logs import configure_logs
from gateway.worker.service import Worker
from gateway.worker.setup import Setup
from state import StateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import RawIOBase


def main() -> int:
    """Run until told to stop; the exit status."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Without a buffer, so that the thread that waits for questions holds no lock when everything else has ended.
    questions = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - it is open, and stays so
    line = questions.readline()
    if not line:
        return 1  # the supervisor has ended already
    setup = Setup.load(line)
    logs = setup.settings.service.telemetry.logs
    several = setup.settings.service.workers > 1
    configure_logs(logs.level, logs.format, **({"worker": setup.number} if several else {}))
    os.umask(0o077)
    if not uvloop.run(_serve(setup, questions, answers)):
        # A thread waits for a ClickHouse that hangs, and nothing can stop it. What it sends is in the spool.
        os._exit(0)
    return 0


async def _serve(setup: Setup, questions: RawIOBase, answers: BinaryIO) -> bool:
    """Serve until a signal; true if nothing is left that still runs."""
    stopping = told_to_stop()
    worker = Worker(setup)
    try:
        started = await start_unless(stopping, worker.start())
    except (ConfigError, StateError) as error:
        _answer(answers, {"failed": error.lines if isinstance(error, ConfigError) else [str(error)]})
        return not worker.is_hanging
    if not started:
        return not worker.is_hanging
    _answer(answers, {"ready": True})
    _take_questions(
        questions, lambda number, **asked: _answer(answers, {"number": number, "report": worker.report(**asked)})
    )
    await stopping.wait()
    await worker.stop()
    return not worker.is_hanging


def _answer(answers: BinaryIO, document: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, and this process ends in a moment
        answers.write(orjson.dumps(document) + b"\n")
        answers.flush()


def _take_questions(questions: RawIOBase, answer: Callable[..., None]) -> None:
    """Have each line answered in the event loop, and end at once when there are no more."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in questions:
            loop.call_soon_threadsafe(partial(answer, **orjson.loads(line)))
        os._exit(1)

    threading.Thread(target=read, name="questions", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
