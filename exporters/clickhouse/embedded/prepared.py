"""A statement that was checked, on a connection that has its user's role, settings and limits. All of it blocks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from exporters.clickhouse.embedded import kill
from exporters.clickhouse.embedded.errors import ACCESS_DENIED, UNKNOWN_SETTING, UNKNOWN_TABLE, ClickHouseError
from exporters.clickhouse.embedded.query import LABEL, Progress, Query, Result
from exporters.clickhouse.embedded.rules import KILL, QUERIES, SET, USE
from exporters.clickhouse.embedded.sql import is_name, quoted
from exporters.clickhouse.embedded.users import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporters.clickhouse.embedded.connections import Connections
    from exporters.clickhouse.embedded.grammar import Parsed

_AS_FILE: Final = "the grant READ ON FILE"
_NO_TABLE: Final = (
    "Unknown table: the database `default` has no table of that name. Name the table with its database, as in "
    "tollgate.spans, or choose the database with the URL parameter `database`"
)

# The engine starts as clickhouse-local does; these make it answer as the server does.
_SERVER_DEFAULTS: Final = {"implicit_select": "0", "allow_introspection_functions": "0"}
# Data of VALUES would otherwise be expressions, which no parser of ours sees.
_NO_EXPRESSIONS: Final = {
    "input_format_values_interpret_expressions": "0",
    "input_format_values_deduce_templates_of_expressions": "0",
}
_OF_FILE: Final = re.compile(r"\(in file/uri [^)]*\)")
# Set by themselves, last or always.
_NOT_FOR_ENGINE: Final = frozenset({"readonly", LABEL})


class Prepared:
    """A statement that was checked, on a connection that has the user's role, settings and limits.

    `is_piped` tells that the result goes to the pipe that `Connections.prepare` was given. `data` is the file of an
    INSERT's data. `is_held` connections belong to a session.
    """

    def __init__(
        self,
        connections: Connections,
        connection: Any,
        query: Query,
        parsed: Parsed,
        *,
        text: bytes,
        output_format: str,
        is_held: bool,
    ) -> None:
        self.output_format = output_format
        self.is_piped = False
        self.data: Any = None
        self._connections = connections
        self._query = query
        self._parsed = parsed
        self._connection = connection
        self._text = text
        self._is_held = is_held

    @property
    def reads_only(self) -> bool:
        """Whether the statement changes nothing that is stored, so that it may be ended at any time."""
        return self._parsed.kind in QUERIES or self._parsed.kind == KILL

    def begin(self) -> None:
        """Give the connection what the request and its session say; raises ClickHouseError."""
        query, connection = self._query, self._connection
        session = query.session
        database = query.database or (session.database if session is not None else "") or "default"
        connection.query(_bytes(f"USE {quoted(database, '`')}"))
        settings = _SERVER_DEFAULTS | {name: str(value) for name, value in query.user.limits.settings().items()}
        if query.user.role is not Role.ADMIN:
            settings |= _NO_EXPRESSIONS
        settings |= session.settings if session is not None else {}
        settings |= query.settings
        if query.user.role is Role.READER:
            # Set before, they are the same and so allowed where the statement sets them again under readonly.
            settings |= {name: value for name, value in self._parsed.settings if value}
        settings = {name: value for name, value in settings.items() if name not in _NOT_FOR_ENGINE}
        settings |= {f"param_{name}": value for name, value in query.parameters.items()}
        _set(connection, settings | {LABEL: query.label})
        connection.query(f"SET ROLE {query.user.role}")
        if query.user.role is Role.READER:
            _set(connection, {"readonly": "1"})
        elif not self._is_held and (readonly := query.settings.get("readonly") or ("2" if query.is_get else "")):
            # In a session it would stay for good; there only `rules.py` sees to it. A GET may bring settings.
            _set(connection, {"readonly": readonly})

    def run(self) -> Result:
        """Run it to its end; raises ClickHouseError."""
        try:
            return self._run()
        except ClickHouseError as error:
            if error.code == ACCESS_DENIED.code and _AS_FILE in str(error) and self._query.user.role is not Role.ADMIN:
                # In its database `default` the engine looks for a table that it has not among the files.
                raise ClickHouseError(UNKNOWN_TABLE, _NO_TABLE) from error
            raise error.reworded(lambda message: _OF_FILE.sub("(in the request's data)", message)) from error

    def _run(self) -> Result:
        with self._connections.clickhouse_errors():
            if self._parsed.kind == KILL and (self._parsed.tree or {}).get("kill_type") == "Query":
                return Result(self._kill(), Progress())
            if self._parsed.kind == SET and self._query.user.role is Role.READER:
                # What it sets stands already, by `begin`; under readonly it could not be set back to a default.
                self._remember()
                return Result(b"", Progress())
            result = self._connection.query(self._text, self.output_format if not self.is_piped else "Null")
            self._remember()
            return Result(result.bytes(), _progress(result))

    def close(self) -> None:
        """Close the connection, or make it ready for its session's next request."""
        if self.data is not None:
            self.data.close()
        with self._connections.clickhouse_errors():
            if not self._is_held:
                self._connection.close()
                return
            kept = self._query.session.settings if self._query.session is not None else {}
            passing = [name for name in self._query.settings if name not in kept and name not in _NOT_FOR_ENGINE]
            if passing:
                self._connection.query("SET " + ", ".join(f"{_checked(name)} = DEFAULT" for name in passing))

    def _remember(self) -> None:
        session = self._query.session
        if session is None:
            return
        if self._parsed.kind == SET:
            for name, value in self._parsed.settings:
                session.settings.pop(name, None)
                if value:
                    session.settings[name] = value
        if self._parsed.kind == USE:
            session.database = self._connection.query("SELECT currentDatabase()", "TSVRaw").bytes().decode().strip()

    def _kill(self) -> bytes:
        tree = self._parsed.tree or {}
        found = kill.find(tree, self._query.user, _runs_on(self._connection))
        have_ended = False
        if not tree.get("test"):
            for row in found:
                self._connections.let_go(row["query_id"])
            with_all_rights = self._connections.open()
            try:
                have_ended = kill.end(tree, found, _runs_on(with_all_rights))
            finally:
                with_all_rights.close()
        return kill.report(found, self.output_format, _runs_on(self._connection), have_ended=have_ended)


def _runs_on(connection: Any) -> Callable[[bytes, str], bytes]:
    def run(sql: bytes, output_format: str) -> bytes:
        data: bytes = connection.query(sql, output_format).bytes()
        return data

    return run


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


def _set(connection: Any, settings: Mapping[str, str]) -> None:
    connection.query(
        _bytes("SET " + ", ".join(f"{_checked(name)} = {quoted(value)}" for name, value in settings.items()))
    )


def _checked(name: str) -> str:
    if not is_name(name):
        raise ClickHouseError(UNKNOWN_SETTING, f"Unknown setting '{name[:60]}'.")
    return name


def _bytes(text: str) -> bytes:
    # URL parameters may hold any bytes; request.py keeps what is not UTF-8 as surrogates.
    return text.encode(errors="surrogateescape")
