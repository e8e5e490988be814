"""What the engine's own parser sees of a statement."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from exporters.clickhouse.embedded.errors import ClickHouseError
from exporters.clickhouse.embedded.grammar import Parsed, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINE = """
import sys
import chdb
connection = chdb.connect(":memory:")
for line in sys.stdin.buffer:
    try:
        answer = connection.query(bytes.fromhex(line.decode()), "TSVRaw").bytes()
    except Exception as error:
        answer = b"!" + str(error).encode()
    print(answer.hex(), flush=True)
"""


@pytest.fixture(scope="module")
def parsed() -> Iterator[Callable[[bytes], Parsed]]:
    """Parses a statement with an engine in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as engine:

        def run(sql: bytes) -> bytes:
            assert engine.stdin is not None
            assert engine.stdout is not None
            print(sql.hex(), file=engine.stdin, flush=True)
            answer = bytes.fromhex(engine.stdout.readline())
            if answer.startswith(b"!"):
                raise ClickHouseError.from_engine(RuntimeError(answer[1:].decode(errors="replace")))
            return answer

        yield lambda text: parse(text, run)
        engine.communicate()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"SELECT 1", "SelectWithUnionQuery"),
        (b"(SELECT 1) UNION ALL (SELECT 2)", "SelectWithUnionQuery"),
        (b"EXPLAIN SELECT 1", "ExplainQuery"),
        (b"INSERT INTO t SELECT 1", "InsertQuery"),
        (b"SET a = 1", "SetQuery"),
        (b"DESCRIBE t", "DescribeQuery"),
        (b"EXISTS t", "ExistsTableQuery"),
        (b"SHOW CREATE TABLE a.b", "ShowCreateTableQuery"),
        (b"SHOW USERS", "SHOW USERS query"),
        (b"SET ROLE ALL", "SetRoleQuery"),
        (b"EXECUTE AS a SELECT 1", "ExecuteAsQuery"),
    ],
)
def test_a_statement_has_its_kind(parsed: Callable[[bytes], Parsed], text: bytes, kind: str) -> None:
    """Every statement's kind is known, also of those for which the engine has no JSON."""
    assert parsed(text).kind == kind


def test_names_are_found_wherever_they_stand(parsed: Callable[[bytes], Parsed]) -> None:
    """Functions are found in every clause, in lambdas, transformers and table positions, and by their bare names."""
    text = b"""
        WITH x AS (SELECT A(1)) SELECT * APPLY(b), arrayMap(c, [1]), arrayMap(y -> d(y), [1]), t.e
        FROM F(g(1)) AS t JOIN (SELECT 1) AS u ON h(1) = 1 WHERE z IN i(1) ORDER BY j(1) LIMIT k(1)
        SETTINGS l = 1 FORMAT M
    """
    found = parsed(text)
    assert set("abdfghijk") <= found.functions
    assert "c" in found.identifiers
    assert "t.e" in found.identifiers
    assert (found.settings, found.output_format) == ((("l", "1"),), "M")


def test_names_in_statements_without_json_are_found(parsed: Callable[[bytes], Parsed]) -> None:
    """DESCRIBE, for which there is no JSON, tells its functions too, and that what it does not tell is not seen."""
    assert "file" in parsed(b"DESCRIBE TABLE file('a')").functions
    assert not parsed(b"DESCRIBE TABLE t").is_opaque
    assert parsed(b"DESCRIBE (SELECT * APPLY(file) FROM t)").is_opaque
    assert parsed(b"DESCRIBE TABLE t SETTINGS max_threads = 1").is_opaque


def test_files_are_told(parsed: Callable[[bytes], Parsed]) -> None:
    """INTO OUTFILE and FROM INFILE are seen with their paths, or at least that they are there."""
    assert parsed(b"SELECT 1 INTO OUTFILE '/a' TRUNCATE FORMAT CSV").out_file == "/a"
    assert parsed(b"EXPLAIN SELECT 1 INTO OUTFILE '/a'").out_file == "/a"
    assert parsed(b"INSERT INTO t FROM INFILE '/b' FORMAT CSV").in_file == "/b"
    assert parsed(b"DESCRIBE t INTO OUTFILE '/a'").out_file == ""
    assert parsed(b"SELECT 1").out_file is None


@pytest.mark.parametrize("text", [b"SELECT", b"SELECT 1; SELECT 2", b"SELECT 1 FROM", b"", b"SELECT '\xff' FROM"])
def test_what_is_no_statement_is_an_error_in_the_engines_words(parsed: Callable[[bytes], Parsed], text: bytes) -> None:
    """A syntax error is the engine's own, without a trace of how it was asked."""
    with pytest.raises(ClickHouseError, match="SYNTAX_ERROR") as error:
        parsed(text)
    assert "parseQueryToJSON" not in str(error.value)


@pytest.mark.parametrize("deep", [b"1+" * 400 + b"1", b"1+" * 5000 + b"1", b"NOT " * 5000 + b"1"])
def test_a_statement_too_deep_to_look_at_is_refused(parsed: Callable[[bytes], Parsed], deep: bytes) -> None:
    """A statement that is nested too deeply gets a code for that, in every form of statement."""
    for text in (b"SELECT " + deep, b"SHOW TABLES WHERE " + deep):
        with pytest.raises(ClickHouseError) as error:
            parsed(text)
        assert error.value.code in {167, 306}
