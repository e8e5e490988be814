"""Settings files as one map: read in order, later ones over earlier ones, substitutions made last.

A substitution that a later file overrides is never carried out, so it may name a variable that is not set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.document import read_document
from config.errors import ConfigError, at, problem
from config.substitution import SubstitutionError, Template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def load(paths: Sequence[Path], environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings that `paths` hold together, as plain data.

    Maps merge deeply; lists and scalars, null included, are replaced. Relative paths in `${file:PATH}` start at the
    folder of the file that holds them. Raises ConfigError with every problem of the first stage that found any.
    """
    if not paths:
        raise ConfigError(["no settings file is given; name one with --config"])
    merged: dict[str, Any] = {}
    problems: list[str] = []
    for path in paths:
        try:
            merged = _merge(merged, read_document(path))
        except ConfigError as error:
            problems += error.lines
    if problems:
        raise ConfigError(problems)
    loaded: dict[str, Any] = _substitute(merged, "", environ, problems)
    if problems:
        raise ConfigError(problems)
    return loaded


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        present = merged.get(key)
        merged[key] = _merge(present, value) if isinstance(present, dict) and isinstance(value, dict) else value
    return merged


def _substitute(value: Any, place: str, environ: Mapping[str, str], problems: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, at(place, key), environ, problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, at(place, index), environ, problems) for index, item in enumerate(value)]
    if isinstance(value, Template):
        try:
            return value.expand(environ)
        except SubstitutionError as error:
            problems.append(problem(place, str(error)))
            return None
    return value
