"""`tollgate schema`: what there is to do about the tables in ClickHouse."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from exporters.clickhouse.arrow import table_schemas
from gateway.cli.common import CommandError, add_config_option, read_settings
from gateway.components import read_pipeline

if TYPE_CHECKING:
    from pathlib import Path

_EXAMPLES = """example:
  tollgate schema move --to https://clickhouse.internal:8443 > move.sh
"""
_OLD_PORT = 8124

# Month by month, so that a copy that breaks off is begun again at its month. What is copied twice counts once.
_MOVE = """#!/usr/bin/env bash
# Moves what the embedded ClickHouse holds to the server at {new}.
#
# 1. Let the gateway write to the server: in its settings replace exporters::clickhouse::embedded by
#        endpoint: {new}
#        username: <a user who may create the database {database}>
#        password: ${{env:CLICKHOUSE_PASSWORD}}
#    and restart it. It makes the tables there, and new spans go there from now on.
# 2. Run this, with CLICKHOUSE_USER and CLICKHOUSE_PASSWORD in the environment. It starts the embedded ClickHouse by
#    itself, copies one month after the other, and compares the counts. It may be run again at any time.
# 3. When it says that everything is there, remove {directory}.
set -euo pipefail
old=http://127.0.0.1:{port}
! curl -s "$old/ping" >/dev/null || {{ echo "Something listens at $old already: stop it first." >&2; exit 1; }}
new={quoted_new}
{python} -P -m exporters.clickhouse.embedded --path {quoted_directory} --port {port} &
trap "kill $!" EXIT
until curl -sf "$old/ping" >/dev/null; do
  kill -0 $! 2>/dev/null || {{ echo "The embedded ClickHouse does not start: see above." >&2; exit 1; }}
  sleep 0.2
done
ask() {{ curl -sS --fail-with-body "$@"; }}
ask_new() {{ ask --user "$CLICKHOUSE_USER:$CLICKHOUSE_PASSWORD" "$@"; }}
for table in {tables}; do
  months="SELECT DISTINCT partition FROM system.parts WHERE active AND database = '{database}' AND table = '$table'"
  months=$(ask "$old" --data-binary "$months ORDER BY partition")
  for month in $months; do
    echo "$table $month"
    ask "$old" --data-binary "SELECT * FROM {database}.$table WHERE _partition_id = '$month' FORMAT Native" |
      ask_new "$new/?query=INSERT+INTO+{database}.$table+FORMAT+Native&async_insert=0" -X POST -T -
  done
done
for view in spans llm_calls; do
  count="SELECT count() FROM {database}.$view"
  here=$(ask "$old" --data-binary "$count")
  there=$(ask_new "$new" --data-binary "$count")
  echo "$view: $here here, $there at $new"
  [ "$there" -ge "$here" ] || {{ echo "There are fewer $view at $new: run this again." >&2; exit 1; }}
done
echo "Everything is there."
"""


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `schema`."""
    parser = commands.add_parser(
        "schema",
        help="move the tables to another ClickHouse",
        description="What there is to do about Tollgate's tables in ClickHouse.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    move = actions.add_parser(
        "move",
        help="print how to move from the embedded ClickHouse to a server",
        description=(
            "Print the steps from the embedded ClickHouse to a server, as a shell script with what to do before and "
            "after. Nothing is changed by printing it."
        ),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config_option(move)
    move.add_argument("--to", required=True, metavar="URL", help="the server, such as https://clickhouse.internal:8443")
    move.set_defaults(run=_move)


def _is_server(text: str) -> bool:
    try:
        url = urlsplit(text)
        has_port = url.port is None or url.port > 0
    except ValueError:
        return False
    is_bare = not (url.path.strip("/") or url.query or url.fragment or "@" in url.netloc)
    return url.scheme in {"http", "https"} and bool(url.hostname) and has_port and is_bare


def _move(arguments: argparse.Namespace) -> int:
    if not _is_server(arguments.to):
        raise CommandError(
            f"{arguments.to} is not a server's URL: write one without a password, such as "
            "https://clickhouse.internal:8443."
        )
    settings = read_settings(arguments)
    exporter = read_pipeline(settings).exporter
    if not exporter.is_embedded:
        raise CommandError("These settings have no embedded ClickHouse to move from: give those that have it.")
    directory: Path = exporter.own_server.directory(settings.service.data_directory).absolute()
    print(
        _MOVE.format(
            new=arguments.to.rstrip("/"),
            quoted_new=shlex.quote(arguments.to.rstrip("/")),
            database=exporter.database,
            directory=directory,
            quoted_directory=shlex.quote(str(directory)),
            python=shlex.quote(sys.executable),
            port=_OLD_PORT,
            tables=" ".join(table_schemas()),
        ),
        end="",
    )
    return 0
