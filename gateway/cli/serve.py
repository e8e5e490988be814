"""`tollgate serve`: runs the gateway until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import structlog

from gateway.cli.common import add_config_option, read_settings
from gateway.supervisor import Supervisor
from gateway.tasks import start_unless, told_to_stop
from gateway.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from config import Settings
    from gateway.supervisor import Started

log = structlog.get_logger()

_EXAMPLES = """examples:
  tollgate serve
  TOLLGATE_API_KEY=a-long-secret tollgate serve
  tollgate serve --config tollgate.yaml --config production.yaml
"""


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `serve`."""
    parser = commands.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway until SIGTERM or Ctrl-C. What is acknowledged by then is on disk.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_option(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = read_settings(arguments)
    logs = settings.service.telemetry.logs
    configure_logs(logs.level, logs.format)
    # What is stored may be prompts: it is nobody else's to read.
    os.umask(0o077)
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    """Serve until a signal."""
    stopping = told_to_stop()
    supervisor = Supervisor(settings)
    started = await start_unless(stopping, supervisor.start())
    if started is None:
        return
    print(_banner(started, next(iter(settings.destinations))), flush=True)
    await stopping.wait()
    log.info("stopping")
    await supervisor.stop()
    log.info("stopped")


def _banner(started: Started, destination: str) -> str:
    """What a new user needs next; the only place where a new key is shown."""
    program = sys.argv[0]
    lines = ["Tollgate is ready.", ""]
    if started.http:
        lines.append(f"  Base URL    {started.http}  (OTLP/HTTP; what OpenRouter asks for)")
    if started.grpc:
        lines.append(f"  OTLP/gRPC   {started.grpc}")
    lines.append(f"  ClickHouse  {started.clickhouse}, database {started.database}")
    if started.first_key:
        lines.append(f"  API key     {started.first_key}  (destination {destination}; shown only now)")
        command = f"TOLLGATE_API_KEY={started.first_key} {program} send-sample"
    else:
        lines.append(f"  API key     the one you have; make another with: {program} keys create {destination}")
        command = f"TOLLGATE_API_KEY=<your key> {program} send-sample"
    return "\n".join([*lines, "", "Next, in another terminal:", f"  {command}", ""])
