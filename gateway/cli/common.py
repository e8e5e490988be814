"""What the commands share: reading the settings, and errors that end in one line instead of a traceback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from config import DEFAULT_FILE, Settings, load

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


class CommandError(Exception):
    """A command cannot do what it was asked to; the message is a sentence for the user."""


def add_config_option(parser: ArgumentParser) -> None:
    """`--config`, as every command that reads settings takes it."""
    parser.add_argument(
        "--config",
        action="append",
        type=Path,
        metavar="FILE",
        help="a settings file; may be repeated, the later one wins (default: the settings shipped with Tollgate)",
    )


def read_settings(arguments: Namespace) -> Settings:
    """The settings that the command line names; ConfigError if there is anything wrong with them."""
    return Settings.from_mapping(load(arguments.config or [DEFAULT_FILE], os.environ))
