"""`tollgate ledger`: what became of every span, and whether ClickHouse shows what the spool has sent."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from exporters.clickhouse.exporter import ClickHouseExporter
from gateway.cli.common import CommandError, add_config_option, read_settings
from gateway.components import read_pipeline
from gateway.dead_letters import DeadLetters
from gateway.ledger import DamagedLedgerError, read_ledger
from gateway.ledger_check import Comparison, compare
from gateway.spool.directories import spool_directories
from gateway.spool.tally import ACCEPTED, DAMAGED, DEAD_LETTERED, RECEIVED, STORED, reason_of

if TYPE_CHECKING:
    from config import Settings
    from gateway.spool.tally import Tally

_EXAMPLES = """examples:
  tollgate ledger
  tollgate ledger --check
"""
_MOST_SHOWN = 10
_COLUMNS = ("RECEIVED", "REJECTED", "ACCEPTED", "STORED", "DEAD-LETTERED", "DAMAGED", "IN SPOOL")


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `ledger`."""
    parser = commands.add_parser(
        "ledger",
        help="show what became of every span, by destination",
        description=(
            "What became of every span that senders were answered for, by destination, over all runs on the data "
            "directory, in receipts: a span that is sent twice counts twice. It can be asked whether the gateway runs "
            "or not. RECEIVED is REJECTED and ACCEPTED; ACCEPTED is STORED, DEAD-LETTERED, DAMAGED and IN SPOOL."
        ),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare the spans of the segments that the spool still keeps with `spans` in ClickHouse",
    )
    add_config_option(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = read_settings(arguments)
    directory = settings.service.data_directory
    if not directory.is_dir():
        raise CommandError(f"There is no data directory {directory}: name it by --config or TOLLGATE_DATA.")
    try:
        tally = read_ledger(spool_directories(directory))
    except DamagedLedgerError as error:
        raise CommandError(f"{error}; a gateway that starts there sets it aside and begins a new one.") from error
    _print(tally)
    if arguments.check:
        return _check(settings)
    return 0


def _print(tally: Tally) -> None:
    width = max([len("DESTINATION"), *map(len, tally.destinations())])
    print(f"{'DESTINATION':<{width}}  {'  '.join(f'{name:>13}' for name in _COLUMNS)}")
    for destination in tally.destinations():
        numbers = [
            tally.of(destination, RECEIVED),
            tally.rejected(destination),
            *(tally.of(destination, entry) for entry in (ACCEPTED, STORED, DEAD_LETTERED, DAMAGED)),
            tally.in_spool(destination),
        ]
        print(f"{destination:<{width}}  {'  '.join(f'{number:>13}' for number in numbers)}")
    reasons = [(destination, reason_of(entry), count) for destination, entry, count in tally if reason_of(entry)]
    for destination, reason, count in sorted(reasons, key=str):
        print(f"Rejected of {destination}: {count}, {reason}.")
    if not tally:
        print("Nothing has been received yet.")


def _check(settings: Settings) -> int:
    exporter = ClickHouseExporter(read_pipeline(settings).exporter)
    found = Comparison()
    data = settings.service.data_directory
    try:
        for path, found in compare(spool_directories(data), exporter, DeadLetters(data / "dead-letter")):
            if sys.stderr.isatty():
                print(f"\r{path.stem}: {found.identities} spans compared ...", end="", file=sys.stderr, flush=True)
    finally:
        exporter.close()
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
    print(
        f"{found.segments} segments are kept. Of {found.identities} spans in those that were sent, "
        f"{len(found.missing)} are not in ClickHouse, {len(found.doubled)} are there more than once, and "
        f"{found.dead_lettered} are in the dead letters. {found.waiting} wait to be sent."
    )
    for what, some in (("Missing", found.missing), ("More than once", found.doubled)):
        for destination, time, trace, span in some[:_MOST_SHOWN]:
            print(f"{what}: destination {destination}, trace {trace}, span {span}, start {time} ns")
        if len(some) > _MOST_SHOWN:
            print(f"... and {len(some) - _MOST_SHOWN} more")
    return int(bool(found.missing or found.doubled))
