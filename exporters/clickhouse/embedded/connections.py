"""chdb's connections: one for each query, opened, prepared, used and closed on one request's behalf. All of it blocks.

A connection is never used for a second request, because SET and USE stick to it; opening one costs 1 to 2 ms.
"""

from __future__ import annotations

import importlib
import re
import shutil
from contextlib import contextmanager
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from exporters.clickhouse.embedded.errors import UNKNOWN_FORMAT, UNKNOWN_SETTING, ClickHouseError
from exporters.clickhouse.embedded.query import Progress, Query, Result

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_INSERTS: Final = "tollgate-inserts"

_COPY_CHUNK: Final = 1 << 20

# The engine starts as clickhouse-local does; these make it answer as the server does.
_SERVER_DEFAULTS: Final = {"implicit_select": "0", "allow_introspection_functions": "0"}
# chdb takes these for Python objects, not for formats of ClickHouse.
_NOT_FORMATS: Final = frozenset({"arrowtable", "dataframe", "datastore"})
_SETTING_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_STREAM: Final = "Streaming query is not supported"


class Connections:
    """Opens connections to the engine on one database directory; raises ImportError without chdb."""

    def __init__(self, path: Path) -> None:
        self._chdb: Any = importlib.import_module("chdb")
        self._errors: tuple[type[Exception], ...] = (self._chdb.ChdbError, RuntimeError, UnicodeDecodeError)
        # What follows a question mark chdb reads as settings.
        self._location = str(path)
        self._inserts = path / _INSERTS
        # What an earlier child left behind was cut off, and its sender has been told so.
        shutil.rmtree(self._inserts, ignore_errors=True)
        self._inserts.mkdir(parents=True)

    def open(self) -> Any:
        """A plain connection, as chdb opens it."""
        with self.clickhouse_errors():
            return self._chdb.connect(self._location)

    def run(self, query: Query) -> Result:
        """Run a query to its end; raises ClickHouseError."""
        with self.clickhouse_errors():
            connection = self._prepared(query)
            try:
                if query.statement.input_format is not None:
                    return self._insert(connection, query)
                result = connection.query(query.statement.text, query.output_format)
                return Result(result.bytes(), _progress(result))
            finally:
                connection.close()

    def stream(self, query: Query) -> Stream | None:
        """Begin a query whose result is read piece by piece, or None where the engine only runs it whole."""
        with self.clickhouse_errors():
            connection = self._prepared(query)
            try:
                return Stream(self, connection, connection.send_query(query.statement.text, query.output_format))
            except BaseException as error:
                connection.close()
                if _NO_STREAM in str(error):
                    return None
                raise

    def _insert(self, connection: Any, query: Query) -> Result:
        """Insert the query's data from a file of its own.

        chdb's `send_insert` must not be used: it reports success for what the table refuses (a violated constraint,
        too many partitions) and stores nothing.
        """
        statement = query.statement
        query.source.seek(statement.data_start)
        with NamedTemporaryFile(dir=self._inserts) as file:
            shutil.copyfileobj(query.source, file, _COPY_CHUNK)
            file.flush()
            from_file = f"\nFROM INFILE {_quoted(file.name)} COMPRESSION 'none'\n"
            with_format = f"\nFORMAT {statement.input_format}"
            text = statement.text + from_file.encode() + statement.clauses + with_format.encode()
            return Result(b"", _progress(connection.query(text, query.output_format)))

    def _prepared(self, query: Query) -> Any:
        if query.output_format.lower() in _NOT_FORMATS:
            raise ClickHouseError(UNKNOWN_FORMAT, f"Unknown format {query.output_format}.")
        settings = _SERVER_DEFAULTS | dict(query.settings)
        settings |= {f"param_{name}": value for name, value in query.parameters.items()}
        prelude = ", ".join(f"{_checked(name)} = {_quoted(value)}" for name, value in settings.items())
        connection = self._chdb.connect(self._location)
        try:
            if query.database:
                connection.query(_bytes(f"USE {_quoted(query.database, '`')}"))
            connection.query(_bytes(f"SET {prelude}"))
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def clickhouse_errors(self) -> Iterator[None]:
        """Turn what chdb raises into ClickHouseError."""
        try:
            yield
        except self._errors as error:
            raise ClickHouseError.from_engine(error) from error


class Stream:
    """A result that is read piece by piece; must be closed, which also cancels a query that still runs."""

    def __init__(self, connections: Connections, connection: Any, chunks: Any) -> None:
        self._connections = connections
        self._connection = connection
        self._chunks = chunks
        # A request cut short closes the stream while a fetch may still run, which chdb must not see at once.
        self._one_at_a_time = Lock()
        self.progress = Progress()

    def fetch(self) -> bytes | None:
        """The next piece, or None at the end; raises ClickHouseError."""
        with self._one_at_a_time, self._connections.clickhouse_errors():
            chunk = self._chunks.fetch()
        if chunk is None:
            return None
        self.progress += _progress(chunk)
        data: bytes = chunk.bytes()
        return data

    def result(self, data: bytes) -> Result:
        """All pieces read so far, given as `data`, with their counts."""
        return Result(data, self.progress)

    def close(self) -> None:
        """End the query and its connection."""
        with self._one_at_a_time, self._connections.clickhouse_errors():
            try:
                self._chunks.close()
            finally:
                self._connection.close()


def _progress(result: Any) -> Progress:
    return Progress(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        result_bytes=result.bytes_read(),
        elapsed=result.elapsed(),
    )


def _checked(name: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise ClickHouseError(UNKNOWN_SETTING, f"Unknown setting '{name[:60]}'.")
    return name


def _quoted(value: str, quote: str = "'") -> str:
    return quote + value.replace("\\", "\\\\").replace(quote, f"\\{quote}") + quote


def _bytes(text: str) -> bytes:
    # URL parameters may hold any bytes; request.py keeps what is not UTF-8 as surrogates.
    return text.encode(errors="surrogateescape")
