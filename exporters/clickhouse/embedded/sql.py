"""The little the HTTP layer must know of a query's text: where inline data begins, and which format it asks for.

Only tokens are told apart (strings, quoted names, comments, words), as ClickHouse's lexer does; the engine parses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporters.clickhouse.embedded.errors import NOT_IMPLEMENTED, QUERY_IS_TOO_LARGE, SYNTAX_ERROR, ClickHouseError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is opened and never closed goes to the end, so that a text is looked through only once. The engine would look
# for the end of every such piece anew.
_TOKEN: Final = re.compile(
    rb"""
      (?P<skip> \s++ | --[^\n]*+ | \#[!\ ][^\n]*+ | /\*.*?\*/ )
    | (?P<quoted> \$(?P<tag>\w*+)\$.*?\$(?P=tag)\$ | '(?:[^'\\]|\\.|'')*+'
                | `(?:[^`\\]|\\.|``)*+` | "(?:[^"\\]|\\.|"")*+" )
    | (?P<unclosed> (?: ['"`] | \$\w*+\$ | /\* ) .*\Z )
    | (?P<word> [A-Za-z_][A-Za-z0-9_$]*+ )
    | (?P<mark> \d[\w.]*+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_TOKENS: Final = 500_000
_DATA_START: Final = re.compile(rb"[ \t\f]*\r?\n?")
_DEPTH: Final = {b"(": 1, b"[": 1, b"{": 1, b")": -1, b"]": -1, b"}": -1}

# What a statement with a result begins with, if the result may be large.
_QUERY_BEGINS: Final = frozenset({b"SELECT", b"WITH", b"FROM", b"EXPLAIN", b"TABLE", b"("})


@dataclass(frozen=True, slots=True)
class Statement:
    """What a query's text says to the HTTP layer.

    `text` is what the engine runs. For an INSERT with data it is the part before SETTINGS, FORMAT or VALUES, `clauses`
    its SETTINGS clause, `input_format` names the format of the data, and `data_start` is its offset in the whole.
    `output_format` is that of a FORMAT clause. `result_clauses` is the offset where clauses on the result stand or may
    be added, None where no large result is to be expected. `is_kill` tells of KILL QUERY.
    """

    text: bytes
    clauses: bytes = b""
    input_format: str | None = None
    data_start: int = 0
    output_format: str | None = None
    result_clauses: int | None = None
    is_kill: bool = False

    def from_file(self, path: str) -> bytes:
        """An INSERT with data as the statement that reads the data from a file."""
        source = f"\nFROM INFILE {quoted(path)} COMPRESSION 'none'\n".encode()
        return self.text + source + self.clauses + f"\nFORMAT {self.input_format}".encode()

    def into_file(self, path: str, output_format: str) -> bytes:
        """A query as the statement that writes its result to a file that is there."""
        at = self.result_clauses or 0
        target = f"\nINTO OUTFILE {quoted(path)} TRUNCATE COMPRESSION 'none'\n"
        if self.output_format is None:
            target += f"FORMAT {output_format}\n"
        return self.text[:at] + target.encode() + self.text[at:]


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
    for number, found in enumerate(_TOKEN.finditer(text)):
        if number >= _MOST_TOKENS:
            raise ClickHouseError(QUERY_IS_TOO_LARGE, f"The query has more than {_MOST_TOKENS} words and signs")
        kind = found.lastgroup or ""
        if kind == "skip":
            continue
        if kind == "unclosed":
            raise ClickHouseError(
                SYNTAX_ERROR, f"Syntax error: what begins at position {found.start() + 1} is never closed."
            )
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
    end = at = len(text)
    output_format: str | None = None
    semicolon = False
    word_format: _Token | None = None  # FORMAT, until the next token tells whether a name follows
    is_last = False  # whether nothing but SETTINGS may follow the FORMAT clause that was found
    for token in tokens:
        if semicolon:
            raise _several(token)
        semicolon = token.upper == b";"
        if semicolon:
            end = token.start
        elif word_format is not None and token.kind == "word":
            at, output_format = word_format.start, text[token.start : token.end].decode()
            is_last = False
        elif output_format is not None and not is_last:
            is_last = token.upper == b"SETTINGS"
            if not is_last:
                output_format = None  # so it was a name, not the clause
        is_format = token.upper == b"FORMAT" and token.depth == 0 and token.kind == "word"
        word_format = token if is_format else None
    is_query = first is not None and first.upper in _QUERY_BEGINS
    return Statement(
        text,
        output_format=output_format,
        result_clauses=(end if output_format is None else at) if is_query else None,
        is_kill=first is not None and first.upper == b"KILL",
    )


def is_name(text: str) -> bool:
    """Whether a text is a plain name, as of a setting or a format, that may stand in a statement as it is."""
    return _NAME.fullmatch(text) is not None


def quoted(value: str, quote: str = "'") -> str:
    """A text as it stands in a statement, between quotes."""
    return quote + value.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


def _several(token: _Token) -> ClickHouseError:
    return ClickHouseError(
        SYNTAX_ERROR, f"Syntax error (Multi-statements are not allowed): failed at position {token.start + 1}."
    )
