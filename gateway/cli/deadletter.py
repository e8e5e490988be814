"""`tollgate deadletter`: what ClickHouse has refused for good, and what to do with it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

import orjson

from gateway.cli.common import CommandError, add_config_option, read_settings
from gateway.dead_letters import DeadLetters, UnreadableError

if TYPE_CHECKING:
    from gateway.dead_letters import Letter

_EXAMPLES = """examples:
  tollgate deadletter list
  tollgate deadletter show 01795304410482000000-ab12cd34-0-6543
  tollgate deadletter replay --all
  tollgate deadletter drop 01795304410482000000-ab12cd34-0-6543
"""
_MOST_SHOWN = 20


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `deadletter list`, `show`, `replay` and `drop`."""
    parser = commands.add_parser(
        "deadletter",
        help="list, show, replay and drop the rows that ClickHouse refuses for good",
        description=(
            "Rows that ClickHouse refuses for good. Mend what was wrong and replay them: the gateway that runs on the "
            "data directory inserts them, each once, now or at its next start."
        ),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list them, with the reason")
    show = actions.add_parser("show", help=f"print one's rows as JSON lines, {_MOST_SHOWN} at most")
    show.add_argument("name", help="its name, as `deadletter list` shows it")
    replay = actions.add_parser("replay", help="have them inserted once more")
    drop = actions.add_parser("drop", help="delete them for ever")
    for action in (replay, drop):
        action.add_argument("name", nargs="*", help="their names, as `deadletter list` shows them")
        action.add_argument("--all", action="store_true", help="all of them")
    for action, run in ((listing, _list), (show, _show), (replay, _replay), (drop, _drop)):
        add_config_option(action)
        action.set_defaults(run=run)


def _letters(arguments: argparse.Namespace) -> DeadLetters:
    return DeadLetters(read_settings(arguments).service.data_directory / "dead-letter")


def _list(arguments: argparse.Namespace) -> int:
    letters = _letters(arguments).letters()
    for letter in letters:
        waiting = ", waits to be replayed" if letter.is_waiting else ""
        plural = "s" if letter.rows != 1 else ""
        print(f"{letter.name}  {letter.rows} row{plural} of {letter.table}, {letter.reason}{waiting}")
        print(f"    {' '.join(letter.message.split())[:300]}")
    if not letters:
        print("There are no dead letters.")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    dead_letters = _letters(arguments)
    try:
        rows = dead_letters.rows(_named(dead_letters, arguments.name))
    except (UnreadableError, FileNotFoundError) as error:
        raise CommandError(f"They cannot be shown: {error}") from error
    for row in rows.slice(0, _MOST_SHOWN).to_pylist():
        print(orjson.dumps(row, default=str, option=orjson.OPT_NON_STR_KEYS).decode())
    if rows.num_rows > _MOST_SHOWN:
        print(f"... and {rows.num_rows - _MOST_SHOWN} more rows", file=sys.stderr)
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    dead_letters = _letters(arguments)
    chosen = [letter for letter in _chosen(dead_letters, arguments) if not letter.is_waiting]
    for letter in chosen:
        dead_letters.request_replay(letter)
    print(f"{len(chosen)} will be replayed by the running gateway, or at its next start; `deadletter list` shows when.")
    return 0


def _drop(arguments: argparse.Namespace) -> int:
    dead_letters = _letters(arguments)
    chosen = _chosen(dead_letters, arguments)
    for letter in chosen:
        dead_letters.drop(letter)
    print(f"{len(chosen)} dropped: {sum(letter.rows for letter in chosen)} rows are gone.")
    return 0


def _chosen(dead_letters: DeadLetters, arguments: argparse.Namespace) -> list[Letter]:
    if bool(arguments.name) == arguments.all:
        raise CommandError("Say which: their names, or --all.")
    if arguments.all:
        return dead_letters.letters()
    return [_named(dead_letters, name) for name in arguments.name]


def _named(dead_letters: DeadLetters, name: str) -> Letter:
    for letter in dead_letters.letters():
        if letter.name == name:
            return letter
    raise CommandError(f"There is no dead letter {name!r}: `tollgate deadletter list` shows those there are.")
