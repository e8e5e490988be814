"""The child's entry: `python -m exporters.clickhouse.embedded --path DIR --host H --port P`.

By hand it has one user, `default`, who is an admin without a password; the gateway writes its users as one line to
stdin. Logs are JSON lines on stderr; an error at the start is one plain sentence there, with exit status 1.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import sys
from pathlib import Path

import structlog
import uvloop

from exporters.clickhouse.embedded.errors import ClickHouseError, StartError
from exporters.clickhouse.embedded.users import DEFAULT_USER, Role, User, Users


def main() -> int:
    """Serve until SIGTERM; the exit status."""
    arguments = _arguments()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    # Malformed requests are answered; a traceback for each would let anybody fill the log.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    users = Users([User(DEFAULT_USER, Role.ADMIN)])
    if arguments.users_on_stdin:
        line = _first_line(sys.stdin.fileno())
        if not line:
            return _fail("stdin ended before the line with the users")
        users = Users.load(line)
    try:
        # Imported here, so that a missing extra is an error like the others.
        server = importlib.import_module("exporters.clickhouse.embedded.server")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            clean = runner.run(
                server.serve(
                    arguments.path.resolve(),
                    arguments.host,
                    arguments.port,
                    users,
                    backups=(arguments.backups or arguments.path.with_name("backups")).resolve(),
                    max_server_memory_usage=arguments.max_server_memory_usage,
                    lock_timeout=arguments.lock_timeout,
                    grace=arguments.grace,
                    with_stdin=arguments.exit_with_stdin,
                )
            )
    except ImportError as error:
        return _fail(f"{error.name or error} is not installed: install the extra `embedded`")
    except (StartError, ClickHouseError) as error:
        return _fail(str(error))
    if not clean:
        # A query still runs on a thread that nothing can stop. The data survive this as they survive kill -9.
        os._exit(0)
    return 0


def _fail(sentence: str) -> int:
    print(" ".join(sentence.split()), file=sys.stderr)  # noqa: T201 -- one line for whoever started this
    return 1


def _first_line(descriptor: int) -> str:
    # Byte by byte, so that nothing behind the line is read before whoever watches for stdin's end.
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(descriptor, 1)):
        line += byte
    return line.decode()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m exporters.clickhouse.embedded", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="the database directory, made if it is not there")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="where to listen; beyond this machine only with passwords (default: %(default)s)",
    )
    parser.add_argument("--port", type=int, default=8123, help="the HTTP port (default: %(default)s)")
    parser.add_argument(
        "--lock-timeout", type=float, default=10.0, help="seconds to wait for a directory in use (default: %(default)s)"
    )
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="exit when stdin ends: so a parent that dies takes this with it"
    )
    parser.add_argument(
        "--grace", type=float, default=3.0, help="seconds for running queries at the end (default: %(default)s)"
    )
    parser.add_argument("--backups", type=Path, help="where BACKUP may write (default: `backups` beside the database)")
    parser.add_argument("--users-on-stdin", action="store_true", help="read the users from the first line of stdin")
    parser.add_argument(
        "--max-server-memory-usage", type=int, default=0, help="bytes of memory for all queries (default: most of it)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
