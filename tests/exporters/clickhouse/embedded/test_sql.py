"""What the HTTP layer reads out of a query's text."""

import pytest

from exporters.clickhouse.embedded.errors import ClickHouseError
from exporters.clickhouse.embedded.sql import parse


@pytest.mark.parametrize(
    ("text", "head", "input_format", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", b"INSERT INTO t ", "CSV", b"1,2\n"),
        (b"insert into t (a, b) format Native\r\n\x01\n", b"insert into t (a, b) ", "Native", b"\x01\n"),
        (b"INSERT INTO t FORMAT TSV\n\n1", b"INSERT INTO t ", "TSV", b"\n1"),
        (b'INSERT INTO t FORMAT JSONEachRow {"a": 1}', b"INSERT INTO t ", "JSONEachRow", b'{"a": 1}'),
        (b"INSERT INTO t VALUES (1, ';'); ", b"INSERT INTO t ", "Values", b" (1, ';'); "),
        (b"INSERT INTO t SETTINGS a = 1 FORMAT CSV 1", b"INSERT INTO t SETTINGS a = 1 ", "CSV", b"1"),
        (b"INSERT INTO t FORMAT CSV SETTINGS a = 1\n1", b"INSERT INTO t  SETTINGS a = 1", "CSV", b"1"),
        (b"/* FORMAT X */ INSERT INTO `VALUES` FORMAT CSV\n", b"/* FORMAT X */ INSERT INTO `VALUES` ", "CSV", b""),
        (b"INSERT INTO d.values (format) VALUES (1)", b"INSERT INTO d.values (format) ", "Values", b" (1)"),
        (
            b"INSERT INTO FUNCTION file('a', 'CSV') FORMAT TSV\n1",
            b"INSERT INTO FUNCTION file('a', 'CSV') ",
            "TSV",
            b"1",
        ),
    ],
)
def test_the_data_of_an_insert_is_told_from_its_statement(
    text: bytes, head: bytes, input_format: str, data: bytes
) -> None:
    """An INSERT is cut where ClickHouse cuts it: after VALUES, or after FORMAT's name, blanks and one line break."""
    statement = parse(text)
    assert (statement.text + statement.clauses, statement.input_format, text[statement.data_start :]) == (
        head,
        input_format,
        data,
    )


@pytest.mark.parametrize(
    "text",
    [b"INSERT INTO t SELECT 1", b"INSERT INTO t (a) WITH 1 AS x SELECT x", b"INSERT INTO t FROM INFILE 'x' FORMAT CSV"],
)
def test_an_insert_that_reads_elsewhere_has_no_data(text: bytes) -> None:
    """INSERT … SELECT and FROM INFILE go to the engine as they are."""
    assert parse(text).text == text
    assert parse(text).input_format is None


@pytest.mark.parametrize(
    ("text", "output_format"),
    [
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 FORMAT JSON SETTINGS max_threads = 1;", "JSON"),
        (b"SELECT 'FORMAT CSV'", None),
        (b"SELECT 1 -- FORMAT CSV\n", None),
        (b"SELECT $x$ FORMAT CSV $x$", None),
        (b"SELECT * FROM format(CSV, '1')", None),
        (b"SELECT `FORMAT JSON` FROM t\n FORMAT Native", "Native"),
        (b"SHOW TABLES FORMAT Vertical", "Vertical"),
        (b"", None),
    ],
)
def test_the_format_clause_is_found(text: bytes, output_format: str | None) -> None:
    """Only a FORMAT clause counts, not the word in a string, a comment, a name or a function call."""
    assert parse(text).output_format == output_format


@pytest.mark.parametrize("text", [b"SELECT 1; SELECT 2", b"INSERT INTO t SELECT 1; DROP TABLE t"])
def test_several_statements_are_refused(text: bytes) -> None:
    """One request is one statement, as on ClickHouse's server."""
    with pytest.raises(ClickHouseError, match="Multi-statements are not allowed"):
        parse(text)


def test_a_semicolon_at_the_end_or_in_a_string_is_no_second_statement() -> None:
    """Semicolons that separate nothing do no harm."""
    assert parse(b"SELECT ';' ; -- done").text == b"SELECT ';' ; -- done"


def test_the_input_function_is_refused() -> None:
    """INSERT SELECT from input() is refused, because the engine would silently lose data there."""
    with pytest.raises(ClickHouseError, match="NOT_IMPLEMENTED"):
        parse(b"INSERT INTO t SELECT a FROM input('a UInt8') FORMAT CSV\n1")


def test_a_result_goes_to_a_file_before_the_format() -> None:
    """The clause that sends a result to a file stands where ClickHouse's grammar wants it, behind any comment."""
    clause = b"\nINTO OUTFILE '/dev/fd/7' TRUNCATE COMPRESSION 'none'\n"
    into = {
        b"SELECT a -- why": b"SELECT a -- why" + clause + b"FORMAT CSV\n",
        b"SELECT a FORMAT JSON;": b"SELECT a " + clause + b"FORMAT JSON;",
        b"SELECT format FROM t ; ": b"SELECT format FROM t " + clause + b"FORMAT CSV\n; ",
        b"(SELECT 1) SETTINGS a = 1": b"(SELECT 1) SETTINGS a = 1" + clause + b"FORMAT CSV\n",
    }
    assert {text: parse(text).into_file("/dev/fd/7", "CSV") for text in into} == into
    assert parse(b"SHOW TABLES").result_clauses is None
