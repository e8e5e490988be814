"""Imports point one way: the gateway uses every package, the packages below it only what they are allowed to."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(gateway.__file__).parent.parent
MAY_USE = {
    "gateway": {"processors", "exporters", "config", "otlp", "state", "supervision"},
    "processors": {"otlp", "config"},
    "exporters": {"otlp", "config", "supervision"},
    "otlp": set(),
    "state": set(),
    "config": set(),
    "supervision": set(),
}
DEVELOPMENT = {"benchmarks", "tests"}


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and module of every import, those for type checking and inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def used(package: str) -> Iterator[tuple[str, str]]:
    """Place and module of every import in a package."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for line, module in imports(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(ROOT)}:{line}", module


def test_every_package_has_a_rule() -> None:
    """A package that is installed and has no rule here is found."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]} == set(
        MAY_USE
    )


@pytest.mark.parametrize("package", MAY_USE)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    """Of our own packages, each imports itself and those below it, by their full names."""
    forbidden = (set(MAY_USE) | DEVELOPMENT | {""}) - MAY_USE[package] - {package}
    modules = list(used(package))
    assert modules
    assert [(place, module) for place, module in modules if module.partition(".")[0] in forbidden] == []


def test_the_check_sees_every_kind_of_import() -> None:
    """Plain, renamed, conditional, nested and relative imports are all seen."""
    source = """
import state.keys as keys, json
from otlp import batch
if TYPE_CHECKING:
    from gateway.spool import cut
def late():
    from . import sibling
    from ..config import Model
"""
    assert sorted(module for _, module in imports(source)) == [
        ".",
        "..config",
        "gateway.spool",
        "json",
        "otlp",
        "state.keys",
    ]
