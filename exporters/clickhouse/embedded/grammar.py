"""What a query says, as the engine's own parser sees it: kind, functions, settings, and files it would write or read.

No second grammar is kept here that could differ from the engine's. `parseQueryToJSON` takes the query as a value and
runs nothing of it; the few statements that it knows no JSON for are read from EXPLAIN AST.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from exporters.clickhouse.embedded.errors import TOO_DEEP_RECURSION, ClickHouseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAY_BE_DEEP: Final = 1000  # bytes; a shorter text cannot be nested so deeply that it matters
_NO_JSON: Final = re.compile(r"AST node of type '([^']*)' does not support JSON serialization")
_SCOPE: Final = re.compile(r":? In scope SELECT (?:ignore\(formatQuery|parseQueryToJSON)\(unhex\('[0-9a-f]*'\)+")
_TREE_LINE: Final = re.compile(r"( *)(SHOW .*|[^( ]+) *(.*?)(?: \(children \d+\))?")
# Whatever a tree of EXPLAIN AST does not tell in full.
_OPAQUE: Final = frozenset({"ColumnsApplyTransformer", "QueryParameter"})
BY_NAME: Final = frozenset({"arrayreduce", "arrayreduceinranges", "initializeaggregation"})
"""Functions whose first argument is an aggregate function's name, which may be written as a call."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One parsed statement.

    `kind` is the type of the syntax tree's root, such as `SelectWithUnionQuery`. `functions` are the names, in lower
    case, that stand where a function, a table function or a table engine does; `identifiers` those of columns without
    a table before them, any of which may be a function too, because ClickHouse takes its bare name as an argument.
    `all_parameters` are the names of query parameters, `parameters` of those among them that stand for identifiers.
    `aggregates` are the first arguments of the functions BY_NAME, None where that is no plain text. `settings` are
    those of SET and of SETTINGS clauses, empty where they are set to their defaults or are no plain value.
    `output_format` is that of a FORMAT clause, `out_file` and `in_file` the files of INTO OUTFILE and FROM INFILE.
    `is_opaque` tells that something in it is not to be seen. `tree` is the syntax tree as JSON, None for the kinds that
    have none.
    """

    kind: str
    functions: frozenset[str]
    identifiers: frozenset[str]
    settings: tuple[tuple[str, str], ...] = ()
    output_format: str | None = None
    parameters: frozenset[str] = frozenset()
    all_parameters: frozenset[str] = frozenset()
    aggregates: frozenset[str | None] = frozenset()
    out_file: str | None = None
    in_file: str | None = None
    is_opaque: bool = False
    tree: dict[str, Any] | None = None


def parse(text: bytes, run: Callable[[bytes], bytes]) -> Parsed:
    """Parse one statement; raises ClickHouseError, with the engine's own words, where it is none.

    `run` runs a query of ours and gives its result as one raw value.
    """
    try:
        value = b"unhex('" + text.hex().encode() + b"')"
        if len(text) > _MAY_BE_DEEP:
            # It checks the depth of what the other writes without checking, and overflows its stack.
            run(b"SELECT ignore(formatQuery(" + value + b"))")
        # A text of the query's may be no UTF-8; the names that matter here are.
        json = run(b"SELECT parseQueryToJSON(" + value + b")").decode(errors="replace")
    except ClickHouseError as error:
        if _NO_JSON.search(str(error)):
            # That the parser came so far says that the text is one statement and nothing behind it.
            return _from_explanation(run(b"EXPLAIN AST " + text).decode(errors="replace"))
        raise error.reworded(lambda message: _SCOPE.sub("", message)) from error
    try:
        tree = orjson.loads(json)
    except orjson.JSONDecodeError as error:
        raise ClickHouseError(TOO_DEEP_RECURSION, "The query is nested too deeply") from error
    nodes = list(_nodes(tree if tree["type"] != "ExplainQuery" else tree | {"settings": None}))
    return Parsed(
        kind=tree["type"],
        functions=_names(nodes, {"Function": "name", "ColumnsApplyTransformer": "func_name"}),
        identifiers=_names(nodes, {"Identifier": "name"}),
        settings=tuple(change for node in nodes for change in _changes(node)),
        parameters=frozenset(
            str(node.get("name"))
            for node in nodes
            if node.get("type") == "QueryParameter" and node.get("param_type") == "Identifier"
        ),
        all_parameters=frozenset(str(node.get("name")) for node in nodes if node.get("type") == "QueryParameter"),
        aggregates=frozenset(_first_argument(node) for node in nodes if _is_by_name(node)),
        output_format=(tree.get("format_ast") or {}).get("name"),
        out_file=_literal(tree.get("out_file")),
        in_file=_literal(tree.get("infile")),
        is_opaque="query_parameters" in tree,
        tree=tree,
    )


def _is_by_name(node: dict[str, Any]) -> bool:
    return node.get("type") == "Function" and str(node.get("name", "")).lower() in BY_NAME


def _first_argument(node: dict[str, Any]) -> str | None:
    arguments = (node.get("arguments") or {}).get("children") or [None]
    return _literal(arguments[0]) if arguments[0] is not None and arguments[0].get("type") == "Literal" else None


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _names(nodes: list[dict[str, Any]], keys: dict[str, str]) -> frozenset[str]:
    return frozenset(
        str(node.get(key, "")).lower() for node in nodes if (key := keys.get(str(node.get("type")))) is not None
    )


def _changes(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if node.get("type") != "SetQuery":
        return
    for change in node.get("changes", ()):
        yield change["name"], _setting(change.get("value"))
    for name in node.get("default_settings", ()):
        yield name, ""


def _setting(value: Any) -> str:
    plain = value.get("value") if isinstance(value, dict) else value
    if isinstance(plain, str):
        return plain
    return orjson.dumps(plain).decode() if isinstance(plain, (int, float)) else ""


def _literal(node: Any) -> str | None:
    if node is None:
        return None
    value = node.get("value", {}).get("value")
    return value if isinstance(value, str) else ""


def _from_explanation(text: str) -> Parsed:
    """Read the tree that EXPLAIN AST prints: a node a line, `Type name (children n)`, deeper ones further right.

    A name may hold a line break and so pretend to be more lines; that adds names, and hides none.
    """
    lines = [found.groups() for line in text.splitlines() if (found := _TREE_LINE.fullmatch(line))]
    kind = lines[0][1] if lines else ""
    return Parsed(
        kind=kind,
        functions=frozenset(name.split(" ")[0].lower() for _, node, name in lines if node == "Function"),
        identifiers=frozenset(name.split(" ")[0].lower() for _, node, name in lines if node == "Identifier"),
        settings=(),
        # The file of INTO OUTFILE is the one literal that such statements have at their root.
        out_file="" if any(indent == " " and node == "Literal" for indent, node, _ in lines) else None,
        is_opaque=any(
            node in _OPAQUE or node == "Set" or (node == "Function" and name.split(" ")[0].lower() in BY_NAME)
            for _, node, name in lines
        ),
    )
