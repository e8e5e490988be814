"""The little the HTTP layer must know of a query's text: where inline data begins, and which format it asks for.

Only tokens are told apart (strings, quoted names, comments, words), as ClickHouse's lexer does; the engine parses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporters.clickhouse.embedded.errors import NOT_IMPLEMENTED, SYNTAX_ERROR, ClickHouseError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN: Final = re.compile(
    rb"""
      (?P<skip> \s++ | --[^\n]*+ | \#[!\ ][^\n]*+ | /\*.*?\*/ )
    | (?P<quoted> \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | '(?:[^'\\]|\\.|'')*+'
                | `(?:[^`\\]|\\.|``)*+` | "(?:[^"\\]|\\.|"")*+" )
    | (?P<word> [A-Za-z_][A-Za-z0-9_$]*+ )
    | (?P<mark> \d[\w.]*+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_DATA_START: Final = re.compile(rb"[ \t\f]*\r?\n?")
_DEPTH: Final = {b"(": 1, b"[": 1, b"{": 1, b")": -1, b"]": -1, b"}": -1}

# These add rows or files of their own beside the rows of the result, which a result in pieces would lose.
_NOT_IN_PIECES: Final = frozenset({b"TOTALS", b"EXTREMES", b"OUTFILE"})


@dataclass(frozen=True, slots=True)
class Statement:
    """What a query's text says to the HTTP layer.

    `text` is what the engine runs. For an INSERT with data it is the part before SETTINGS, FORMAT or VALUES, `clauses`
    its SETTINGS clause, `input_format` names the format of the data, and `data_start` is its offset in the whole.
    `output_format` is that of a FORMAT clause, `in_pieces` tells whether the result may be read piece by piece.
    """

    text: bytes
    clauses: bytes = b""
    input_format: str | None = None
    data_start: int = 0
    output_format: str | None = None
    in_pieces: bool = False


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    upper: bytes
    start: int
    end: int
    depth: int


def parse(text: bytes) -> Statement:
    """Read a whole query, or the beginning of one that carries data.

    Raises ClickHouseError for several statements in one request and for INSERT … SELECT from `input()`.
    """
    tokens = _tokens(text)
    first = next(tokens, None)
    if first is not None and first.upper == b"INSERT":
        inserted = _insert(text, tokens)
        if inserted is not None:
            return inserted
        return Statement(text)
    return _plain(text, first, tokens)


def _tokens(text: bytes) -> Iterator[_Token]:
    depth = 0
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        if kind == "skip":
            continue
        depth = max(0, depth + _DEPTH.get(found.group(), 0))
        yield _Token(kind, found.group().upper() if kind != "quoted" else b"", found.start(), found.end(), depth)


def _insert(text: bytes, tokens: Iterator[_Token]) -> Statement | None:
    before = b""
    settings: int | None = None
    for token in tokens:
        word = token.upper if token.kind == "word" and before != b"." else b""
        before = token.upper
        if word in {b"SELECT", b"WITH"} or (word == b"FROM" and token.depth == 0):
            _refuse_input_function(tokens)
            return None
        if token.depth > 0:
            continue
        if word == b"SETTINGS" and settings is None:
            settings = token.start
        head_end = token.start if settings is None else settings
        clauses = text[head_end : token.start]
        if word == b"VALUES":
            return Statement(text[:head_end], clauses, input_format="Values", data_start=token.end)
        if word == b"FORMAT":
            name = next(tokens, None)
            if name is None or name.kind != "word":
                return None
            return _with_data(text, head_end, clauses, name)
    return None


def _with_data(text: bytes, head_end: int, clauses: bytes, name: _Token) -> Statement:
    end = name.end
    line_end = text.find(b"\n", end)
    rest = text[end : line_end if line_end >= 0 else len(text)]
    if rest.upper().split(None, 1)[:1] == [b"SETTINGS"]:
        # `FORMAT X SETTINGS a = 1` is the older place of the clause.
        clauses += rest
        end += len(rest)
    spaces = _DATA_START.match(text, end)
    return Statement(
        text[:head_end],
        clauses,
        input_format=text[name.start : name.end].decode(),
        data_start=spaces.end() if spaces else end,
    )


def _refuse_input_function(tokens: Iterator[_Token]) -> None:
    # The engine would read such data only out of the query's own text, and cut it at a semicolon or an empty line.
    before = b""
    for token in tokens:
        if before == b"INPUT" and token.upper == b"(":
            raise ClickHouseError(
                NOT_IMPLEMENTED,
                "INSERT SELECT from input() is not supported by the embedded ClickHouse: insert the data as it is",
            )
        if before == b";":
            raise _several(token)
        before = token.upper


def _plain(text: bytes, first: _Token | None, tokens: Iterator[_Token]) -> Statement:
    output_format: str | None = None
    in_pieces = first is not None and first.upper in {b"SELECT", b"WITH"}
    format_named = semicolon = False
    for token in tokens:
        if semicolon:
            raise _several(token)
        semicolon = token.upper == b";"
        if token.kind == "word":
            if format_named:
                output_format = text[token.start : token.end].decode()
            in_pieces = in_pieces and token.upper not in _NOT_IN_PIECES
        format_named = token.upper == b"FORMAT" and token.depth == 0 and token.kind == "word"
    return Statement(text, output_format=output_format, in_pieces=in_pieces)


def _several(token: _Token) -> ClickHouseError:
    return ClickHouseError(
        SYNTAX_ERROR, f"Syntax error (Multi-statements are not allowed): failed at position {token.start + 1}."
    )
