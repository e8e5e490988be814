"""One YAML file as plain data, with duplicate keys refused and every text that holds a `$` kept as a Template.

The document is built from PyYAML's nodes, not by its constructors: so a problem is named by its place and its line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import yaml

from config.errors import ConfigError, at, problem
from config.substitution import Template, parse_scalar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TAG = "tag:yaml.org,2002:"
_PLAIN = "!plain"
_MERGE = f"{_TAG}merge"
_KNOWN_TAGS = {_PLAIN, *(_TAG + name for name in ("null", "bool", "int", "float"))}


class _Loader(yaml.SafeLoader):
    """A SafeLoader that leaves the meaning of plain scalars to `parse_scalar`."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML keeps its resolvers on the class


_Loader.add_implicit_resolver(_MERGE, re.compile("<<$"), ["<"])
_Loader.add_implicit_resolver(_PLAIN, re.compile(""), None)


def read_document(path: Path) -> dict[str, Any]:
    """The map that the file holds; ConfigError if it cannot be read, is empty or is not a map."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}; check the path and its permissions"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text; save it as UTF-8"]) from error
    builder = _Builder(path)
    document = builder.document(text)
    if builder.problems:
        raise ConfigError(builder.problems)
    return document


class _Builder:
    """Turns nodes into data and gathers the problems on the way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self._checked: set[int] = set()

    def document(self, text: str) -> dict[str, Any]:
        try:
            loader = _Loader(text)
            try:
                node = loader.get_single_node()
                if node is None or (isinstance(node, yaml.ScalarNode) and parse_scalar(node.value) is None):
                    self.problems.append(f"{self.path}: the file is empty; write settings into it, or leave it out")
                elif not isinstance(node, yaml.MappingNode):
                    self.problems.append(f"{self.path}: holds no map; begin with a section such as receivers:")
                else:
                    return cast("dict[str, Any]", self._map(node, "", (), loader))
            finally:
                loader.dispose()
        # Only the position and PyYAML's own words are shown: its full message quotes the line, which may hold a secret.
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            self.problems.append(f"{self.path}{where}: is not valid YAML: {error.problem or error.context}")
        except yaml.reader.ReaderError as error:
            self.problems.append(f"{self.path}: is not valid YAML: {error.reason}; remove the character")
        except RecursionError:
            self.problems.append(f"{self.path}: is nested too deeply; use fewer levels")
        return {}

    def _value(self, node: yaml.Node, place: str, parents: Sequence[yaml.Node], loader: _Loader) -> Any:
        if any(node is parent for parent in parents):
            return self._complain(node, place, "contains itself through an alias; write it out")
        if isinstance(node, yaml.MappingNode):
            return self._map(node, place, parents, loader)
        if isinstance(node, yaml.SequenceNode):
            if node.tag != f"{_TAG}seq":
                return self._complain(node, place, f"the tag {node.tag} is not supported; remove it")
            return [
                self._value(item, at(place, index), (*parents, node), loader) for index, item in enumerate(node.value)
            ]
        return self._scalar(node, place)

    def _map(self, node: yaml.MappingNode, place: str, parents: Sequence[yaml.Node], loader: _Loader) -> Any:
        if node.tag != f"{_TAG}map":
            return self._complain(node, place, f"the tag {node.tag} is not supported; remove it")
        if id(node) not in self._checked:  # an aliased node comes again, flattened, and then repeats keys rightly
            self._checked.add(id(node))
            if not self._check_keys(node, place):
                return None
        loader.flatten_mapping(node)  # "<<": what it brings in stands first, so that own keys win below
        return {
            key.value: self._value(value, at(place, key.value), (*parents, node), loader) for key, value in node.value
        }

    def _check_keys(self, node: yaml.MappingNode, place: str) -> bool:
        first_lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                self._complain(key, place, "a key is not text; write keys as plain words")
                return False
            if key.value in first_lines:
                line = first_lines[key.value]
                self._complain(key, at(place, key.value), f"the key is already on line {line}; keep one of them")
            first_lines.setdefault(key.value, key.start_mark.line + 1)
        return True

    def _scalar(self, node: yaml.Node, place: str) -> Any:
        text = cast("str", node.value)
        if "$" in text:
            return Template(text, self.path.parent)
        if node.tag == f"{_TAG}str":
            return text
        if node.tag in _KNOWN_TAGS:
            return parse_scalar(text)
        return self._complain(node, place, f"the tag {node.tag} is not supported; remove it")

    def _complain(self, node: yaml.Node, place: str, sentence: str) -> None:
        self.problems.append(problem(place, f"{sentence} ({self.path}, line {node.start_mark.line + 1})"))
