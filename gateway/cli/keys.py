"""`tollgate keys`: API keys made at run time. A running gateway takes changes over within about a second."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from config import ConfigError
from gateway.cli.common import CommandError, add_config_option, read_settings
from state import ApiKey, KeyNotFoundError, KeyStore, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config import Settings

_EXAMPLES = """examples:
  tollgate keys create default --label openrouter
  tollgate keys list
  tollgate keys revoke key_ab12cd34
"""


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `keys create`, `keys list` and `keys revoke`."""
    parser = commands.add_parser(
        "keys",
        help="create, list and revoke API keys",
        description="API keys of destinations. A key is shown once, when it is made; only its hash is stored.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key for a destination and print it")
    create.add_argument("destination", help="a destination from the settings, such as default")
    create.add_argument("--label", default="", help="what the key is for, such as openrouter")
    listing = actions.add_parser("list", help="list keys, the keys themselves left out")
    listing.add_argument("destination", nargs="?", help="only this destination's")
    revoke = actions.add_parser("revoke", help="make a key invalid for ever")
    revoke.add_argument("id", help="the key's id, as `keys list` shows it")
    for action, run in ((create, _create), (listing, _list), (revoke, _revoke)):
        add_config_option(action)
        action.set_defaults(run=run)


@contextmanager
def _store(settings: Settings) -> Iterator[KeyStore]:
    directory = settings.service.data_directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place = "service::data_directory"
        raise ConfigError(
            [f"{place}: {directory} cannot be made: {error.strerror}; choose another directory"]
        ) from error
    engine = open_database(settings.service.state_url.reveal())
    try:
        yield KeyStore(engine, clock=lambda: datetime.now(UTC))
    finally:
        engine.dispose()


def _create(arguments: argparse.Namespace) -> int:
    settings = read_settings(arguments)
    if arguments.destination not in settings.destinations:
        known = ", ".join(settings.destinations)
        raise CommandError(
            f"There is no destination {arguments.destination!r}: add it under destinations, or use one of {known}."
        )
    try:
        with _store(settings) as store:
            known_key, key = store.create(arguments.destination, arguments.label)
    except ValueError as error:
        raise CommandError(f"The key cannot be made: {error}.") from error
    print(key)
    print(f"This is the key of {known_key.id}, for destination {known_key.destination}. It is not shown again.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    with _store(read_settings(arguments)) as store:
        keys = store.list(arguments.destination)
    print(f"{'ID':<14}{'DESTINATION':<20}{'BEGINS WITH':<13}{'CREATED (UTC)':<18}{'STATE':<10}LABEL")
    for key in keys:
        created = f"{key.created_at:%Y-%m-%d %H:%M}"
        print(f"{key.id:<14}{key.destination:<20}{key.prefix:<13}{created:<18}{_state(key):<10}{key.label}".rstrip())
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    try:
        with _store(read_settings(arguments)) as store:
            key = store.revoke(arguments.id)
    except KeyNotFoundError as error:
        raise CommandError(str(error)) from error
    print(f"{key.id} of destination {key.destination} is revoked. A running gateway refuses it within about a second.")
    return 0


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        return "expired"
    return "active"
