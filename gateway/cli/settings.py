"""`tollgate validate`, `components` and `print-config`: what settings files may say, and what they do say."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import yaml

from config import to_plain
from gateway.cli.common import add_config_option, read_settings
from gateway.components import EXPORTERS, RECEIVERS, read_components
from processors.registry import PROCESSORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config import Model


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `validate`, `components` and `print-config`."""
    for name, run, summary, example in (
        ("validate", _validate, "check settings files without starting anything", "tollgate validate --config my.yaml"),
        ("print-config", _print_config, "print the settings in force, secrets masked", "tollgate print-config"),
        ("components", _components, "list the receivers, processors and exporters there are", "tollgate components"),
    ):
        parser = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example:\n  {example}\n",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if run is not _components:
            add_config_option(parser)
        parser.set_defaults(run=run)


def _validate(arguments: argparse.Namespace) -> int:
    read_components(read_settings(arguments))
    print("The settings are valid.")
    return 0


def _print_config(arguments: argparse.Namespace) -> int:
    settings = read_settings(arguments)
    components = read_components(settings)
    plain = to_plain(settings)
    plain["receivers"] = _plain_section(components.receivers)
    plain["processors"] = _plain_section(components.processors)
    plain["exporters"] = _plain_section(components.exporters)
    print(yaml.safe_dump(plain, sort_keys=False), end="")
    return 0


def _components(_: argparse.Namespace) -> int:
    known = {
        "receivers": {name: summary for name, (_, summary) in RECEIVERS.items()},
        "processors": {name: kind.summary for name, kind in PROCESSORS.items()},
        "exporters": {name: summary for name, (_, summary) in EXPORTERS.items()},
    }
    print(yaml.safe_dump(known, sort_keys=False), end="")
    return 0


def _plain_section(section: Mapping[Any, Model]) -> dict[str, Any]:
    return {str(component): to_plain(settings) for component, settings in section.items()}
