"""Parses the command line, runs the command, and turns errors into one line each and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from config import ConfigError
from exporters.clickhouse.embedded import EmbeddedError
from gateway.cli import deadletter, keys, ledger, sample, schema, serve, settings
from gateway.cli.common import CommandError
from otlp.errors import PermanentError, RetryableError
from state import StateError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXAMPLES = """examples:
  tollgate serve
  tollgate serve --config tollgate.yaml
  tollgate validate --config tollgate.yaml
  tollgate keys create default --label openrouter
  TOLLGATE_API_KEY=tg_... tollgate send-sample
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tollgate`; returns the exit status: 0, 1 for an error, 2 for a wrong command line, 130 for Ctrl-C."""
    arguments = build_parser().parse_args(argv)
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except ConfigError as error:
        for line in error.lines:
            print(f"tollgate: {line}", file=sys.stderr)
    except (CommandError, EmbeddedError, StateError, PermanentError, RetryableError) as error:
        print(f"tollgate: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; Python must not try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        return status
    return 1


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar, with examples in every help text."""
    parser = argparse.ArgumentParser(
        prog="tollgate",
        description="A trace gateway for LLM traffic: OTLP in, private and priced spans in ClickHouse out.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tollgate {version('tollgate')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (serve, settings, keys, schema, ledger, deadletter, sample):
        module.add_commands(commands)
    return parser
