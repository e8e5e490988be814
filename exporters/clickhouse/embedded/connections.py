"""chdb's connections: opened, prepared, used and closed on one request's behalf. All of it blocks.

A reader's connection is never used for a second request, because what sticks to it sticks for good; opening one costs
less than a millisecond.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Final

from exporters.clickhouse.embedded import grammar
from exporters.clickhouse.embedded.errors import (
    SYNTAX_ERROR,
    UNKNOWN_FORMAT,
    ClickHouseError,
)
from exporters.clickhouse.embedded.prepared import Prepared
from exporters.clickhouse.embedded.query import LABEL, Progress, Query
from exporters.clickhouse.embedded.roles import FILE_NAME, write_configuration
from exporters.clickhouse.embedded.rules import OUTWARD_CATEGORIES, QUERIES, Rules
from exporters.clickhouse.embedded.sql import is_name, quoted
from exporters.clickhouse.embedded.users import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporters.clickhouse.embedded.grammar import Parsed

_INSERTS: Final = "tollgate-inserts"
_TEMPORARY: Final = "tollgate-tmp"
_COPY_CHUNK: Final = 1 << 20
_LONGEST_QUERY: Final = 64 << 20  # of what the parser is given, where a query stands in hex

# chdb takes these for Python objects, not for formats of ClickHouse.
_NOT_FORMATS: Final = frozenset({"arrowtable", "dataframe", "datastore"})


class Connections:
    """Opens connections to the engine on one database directory, which becomes the process's working directory.

    `backups` and `max_server_memory_usage`, in bytes, are as `write_configuration` takes them. Raises ImportError
    without chdb, OSError where the directory is not writable.
    """

    def __init__(self, path: Path, backups: Path, max_server_memory_usage: int) -> None:
        # Whatever else waits in a file waits beside the database: no other directory is open to this process. The
        # engine looks for it when it is imported.
        tempfile.tempdir = os.environ["TMPDIR"] = str(_emptied(path / _TEMPORARY))
        self._chdb: Any = importlib.import_module("chdb")
        self._errors: tuple[type[Exception], ...] = (self._chdb.ChdbError, RuntimeError, UnicodeDecodeError)
        write_configuration(path, backups, max_server_memory_usage)
        # chdb takes what follows a question mark for settings, so that a path with one must not be named.
        os.chdir(path)
        self._location = f".?config-file={FILE_NAME}"
        # What an earlier child left behind was cut off, and its sender has been told so.
        self._inserts = _emptied(path / _INSERTS)
        # The engine shuts down with its last connection; this one keeps it up between requests.
        self._keeper = self.open()
        self._rules = Rules(
            self.column("SELECT name FROM system.table_functions"),
            self.column(f"SELECT name FROM system.functions WHERE categories IN {OUTWARD_CATEGORIES}"),  # noqa: S608 -- ours
        )
        self._of_thread = threading.local()
        self.let_go: Callable[[str], None] = lambda _: None
        """Told the id of a query that is killed, so that it is not kept by a client that does not read."""

    def open(self) -> Any:
        """A plain connection, with all rights."""
        with self.clickhouse_errors():
            return self._chdb.connect(self._location)

    def column(self, sql: str) -> list[str]:
        """The values of a query of ours for one column; for the start, before there are other threads."""
        with self.clickhouse_errors():
            text: str = self._keeper.query(sql, "TSVRaw").bytes().decode()
        return text.splitlines()

    def close(self) -> None:
        """Shut the engine down."""
        self._keeper.close()

    def prepare(self, query: Query, pipe: str) -> Prepared:
        """Parse a query, check that its user may run it, and make a connection ready; raises ClickHouseError.

        A large result will be written to the file `pipe`.
        """
        with self.clickhouse_errors():
            if query.statement.input_format is not None:
                return self._prepare_insert(query)
            return self._prepare_query(query, pipe)

    def _prepare_insert(self, query: Query) -> Prepared:
        """Make ready to insert the query's data from a file of its own.

        chdb's `send_insert` must not be used: it reports success for what the table refuses (a violated constraint,
        too many partitions) and stores nothing.
        """
        file = NamedTemporaryFile(dir=self._inserts)  # noqa: SIM115 -- Prepared closes it
        try:
            query.source.seek(query.statement.data_start)
            shutil.copyfileobj(query.source, file, _COPY_CHUNK)
            file.flush()
            # Relative to the working directory: in the directory's own path, some characters would make it a pattern.
            name = f"{_INSERTS}/{Path(file.name).name}"
            text = query.statement.from_file(name)
            parsed = self._parse(text)
            self._rules.check(parsed, query, own_file=name)
            prepared = self._prepared(query, parsed, text)
        except BaseException:
            file.close()
            raise
        prepared.data = file
        return prepared

    def _prepare_query(self, query: Query, pipe: str) -> Prepared:
        text = query.statement.text
        parsed: Parsed | None = None
        if query.statement.result_clauses is not None:
            text = query.statement.into_file(pipe, _checked_format(query.default_format))
            try:
                parsed = self._parse(text)
            except ClickHouseError as error:
                if error.code != SYNTAX_ERROR.code:
                    raise
        is_piped = parsed is not None and parsed.kind in QUERIES and parsed.out_file == pipe
        if parsed is None or not is_piped:
            text = query.statement.text
            parsed = self._parse(text)
        self._rules.check(parsed, query, own_file=pipe if is_piped else None)
        prepared = self._prepared(query, parsed, text)
        prepared.is_piped = is_piped
        return prepared

    def _parse(self, text: bytes) -> Parsed:
        parser = getattr(self._of_thread, "parser", None)
        if parser is None:
            parser = self._of_thread.parser = self._chdb.connect(self._location)
            parser.query(f"SET ROLE {Role.READER}")
            parser.query(f"SET max_query_size = {_LONGEST_QUERY}, readonly = 1")

        def run(sql: bytes) -> bytes:
            with self.clickhouse_errors():
                data: bytes = parser.query(sql, "TSVRaw").bytes()
            return data

        return grammar.parse(text, run)

    def _prepared(self, query: Query, parsed: Parsed, text: bytes) -> Prepared:
        output_format = parsed.output_format or query.statement.output_format or _checked_format(query.default_format)
        if output_format.lower() in _NOT_FORMATS:
            raise ClickHouseError(UNKNOWN_FORMAT, f"Unknown format {output_format}.")
        session = query.session
        holds = session is not None and query.user.role is not Role.READER
        connection = session.connection if session is not None and holds else None
        if connection is None:
            connection = self._chdb.connect(self._location)
            if session is not None and holds:
                session.connection = connection
        prepared = Prepared(self, connection, query, parsed, text=text, output_format=output_format, is_held=holds)
        try:
            prepared.begin()
        except BaseException:
            prepared.close()
            raise
        return prepared

    def check(self) -> None:
        """Have the engine answer; for one thread, the same as of `stop` and `progress`."""
        self._control("SELECT 1")

    def stop(self, label: str) -> None:
        """Kill the query of that label, if it runs."""
        self._control(f"KILL QUERY WHERE Settings['{LABEL}'] = {quoted(label)} ASYNC")

    def progress(self, label: str) -> Progress | None:
        """The counts so far of the query of that label, None if it does not run."""
        columns = "read_rows, read_bytes, written_rows, written_bytes, total_rows_approx, elapsed, memory_usage"
        process = f"FROM system.processes WHERE Settings['{LABEL}'] = {quoted(label)}"
        text = self._control(f"SELECT {columns} {process}")
        for line in text.decode().splitlines():
            rows, size, written, written_size, total, elapsed, memory = line.split("\t")
            return Progress(
                int(rows), int(size), int(written), int(written_size), int(total), 0, 0, float(elapsed), int(memory)
            )
        return None

    def _control(self, sql: str) -> bytes:
        connection = getattr(self._of_thread, "control", None)
        if connection is None:
            connection = self._of_thread.control = self.open()
        with self.clickhouse_errors():
            data: bytes = connection.query(sql.encode(errors="surrogateescape"), "TSVRaw").bytes()
        return data

    @contextmanager
    def clickhouse_errors(self) -> Iterator[None]:
        """Turn what chdb raises into ClickHouseError."""
        try:
            yield
        except self._errors as error:
            raise ClickHouseError.from_engine(error) from error


def _emptied(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def _checked_format(name: str) -> str:
    if not is_name(name):
        raise ClickHouseError(UNKNOWN_FORMAT, f"Unknown format {name[:60]}.")
    return name
