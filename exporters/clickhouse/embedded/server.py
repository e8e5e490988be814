"""The child's life: lock the directory, open the engine, answer on the port, and end on SIGTERM or with the parent."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from exporters.clickhouse.embedded.engine import Engine
from exporters.clickhouse.embedded.errors import StartError
from exporters.clickhouse.embedded.http import create_app
from exporters.clickhouse.embedded.sandbox import confine
from exporters.clickhouse.embedded.users import is_loopback
from supervision import LockedError, file_lock

if TYPE_CHECKING:
    from exporters.clickhouse.embedded.users import Users

_LOCK: Final = "tollgate.lock"
_KEEP_ALIVE: Final = 60.0  # seconds; longer than clients keep an idle connection, so that they close it, not we
_MAX_URL: Final = 1 << 20  # ClickHouse's http_max_uri_size
_NICENESS: Final = 5
_FIRST_TO_GO: Final = "500"  # of 1000, for the kernel's out-of-memory killer

log = structlog.get_logger()


async def serve(
    path: Path,
    host: str,
    port: int,
    users: Users,
    *,
    backups: Path,
    max_server_memory_usage: int,
    lock_timeout: float,
    grace: float,
    with_stdin: bool,
) -> bool:
    """Serve the database in `path` until the end; True if no query was still running then.

    `grace` is how many seconds running queries have at the end; aiohttp waits twice as long at most.

    Raises StartError, ClickHouseError, or ImportError without chdb, where it does not start.
    """
    _require_passwords(host, users)
    _give_way()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        path.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 -- once, before anything else runs
        async with file_lock(path / _LOCK, lock_timeout):
            _confine(path, backups)
            engine = Engine(path, backups, max_server_memory_usage)
            # After the engine, which sets signal handlers of its own.
            _die_of_faults()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, ended.set)
            if with_stdin:
                await _end_with_stdin(ended)
            await _answer_until(ended, engine, users, host, port, grace=grace)
            if engine.queries:
                return False
            engine.close()
    except LockedError as error:
        in_use = f"the directory {path} is in use by another embedded ClickHouse"
        raise StartError(f"{in_use}: stop that one, or choose another directory") from error
    except OSError as error:
        raise StartError(f"cannot serve the database in {path} on {host}:{port}: {error}") from error
    return True


async def _answer_until(
    ended: asyncio.Event, engine: Engine, users: Users, host: str, port: int, *, grace: float
) -> None:
    runner = web.AppRunner(
        create_app(engine, users),
        handler_cancellation=True,  # a client that goes away ends its query
        access_log=None,
        auto_decompress=False,  # the request's own errors, in ClickHouse's form
        keepalive_timeout=_KEEP_ALIVE,
        max_line_size=_MAX_URL,
        shutdown_timeout=grace,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        log.info("clickhouse_ready", host=host, port=port, version=engine.facts.version)
        await ended.wait()
        log.info("clickhouse_stopping", queries=engine.queries)
    finally:
        await runner.cleanup()


def _require_passwords(host: str, users: Users) -> None:
    if not is_loopback(host) and users.without_password:
        raise StartError(
            f"on {host} others can reach the embedded ClickHouse, so every user needs a password: "
            f"give one to {', '.join(users.without_password)}, or listen on 127.0.0.1"
        )


def _confine(path: Path, backups: Path) -> None:
    """Open nothing but these directories, where the system can hold us to it. It counts for threads yet to come."""
    backups.mkdir(parents=True, exist_ok=True)
    if not confine([path, backups]):
        log.warning("this system has no Landlock: only the engine's grants keep queries from files", path=str(path))


def _die_of_faults() -> None:
    """End at once where the engine crashes: its own handlers can hang, and then nobody would start a new one."""
    for number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.enable()  # it tells which thread it was, and then leaves the rest to the default


def _give_way() -> None:
    """Leave processor and memory to the gateway beside, which keeps what senders entrust to it."""
    os.nice(_NICENESS)
    with contextlib.suppress(OSError):  # only Linux has it
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)


async def _end_with_stdin(ended: asyncio.Event) -> None:
    class Watch(asyncio.Protocol):
        def connection_lost(self, _: Exception | None) -> None:
            # The parent is gone, and with it whoever read stderr: a log line there would raise from now on.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stderr.fileno())
            os.close(nowhere)
            ended.set()

    await asyncio.get_running_loop().connect_read_pipe(Watch, sys.stdin)
