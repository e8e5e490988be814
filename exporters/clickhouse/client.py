"""The connection to ClickHouse over HTTP, and what its failures mean: try again, or never."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from otlp.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

    from clickhouse_connect.driver.client import Client as Driver

_REFUSES_THE_DATA = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        43,  # ILLEGAL_TYPE_OF_ARGUMENT
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        469,  # VIOLATED_CONSTRAINT
        691,  # UNKNOWN_ELEMENT_OF_ENUM
        636,  # CANNOT_EXTRACT_TABLE_STRUCTURE
    }
)
"""ClickHouse's error codes for data that it will not take however often it is sent."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where ClickHouse is and as whom to speak to it."""

    url: SplitResult
    database: str
    username: str
    password: str
    timeout: float


class Client:
    """Runs statements, one at a time; connects when first needed, and again after a failure. For use in one thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._driver: Driver | None = None

    def command(self, sql: str, *, database: str | None = None) -> None:
        """Run a statement that returns nothing."""
        settings = {"database": database} if database is not None else {}
        self._call("command", sql, settings=settings)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a query; each row by column name."""
        result = self._call("query", sql, parameters=dict(parameters or {}))
        return list(result.named_results())

    def insert_arrow(self, table: str, columns: list[str], stream: bytes, settings: Mapping[str, str]) -> None:
        """Insert an Arrow IPC stream into a table of the connection's database."""
        self._call(
            "raw_insert",
            f"{quote(self._connection.database)}.{quote(table)}",
            columns,
            stream,
            settings=dict(settings),
            fmt="ArrowStream",
        )

    def close(self) -> None:
        """Drop the connection."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call the driver; failures become RetryableError, or PermanentError where the data is at fault."""
        try:
            if self._driver is None:
                self._driver = self._connect()
            return getattr(self._driver, method)(*arguments, **options)
        except ClickHouseError as error:
            code = getattr(error, "code", None)
            message = _one_line(error)
            if code in _REFUSES_THE_DATA:
                raise PermanentError(f"ClickHouse refuses the data: {message}", reason=f"clickhouse_{code}") from error
            self.close()
            raise RetryableError(f"ClickHouse: {message}") from error
        except OSError as error:
            self.close()
            raise RetryableError(f"ClickHouse cannot be reached: {_one_line(error)}") from error

    def _connect(self) -> Driver:
        connection = self._connection
        return clickhouse_connect.get_client(
            interface=connection.url.scheme or "http",
            host=connection.url.hostname or "localhost",
            port=connection.url.port or 0,
            username=connection.username,
            password=connection.password,
            connect_timeout=min(10, int(connection.timeout) or 1),
            send_receive_timeout=int(connection.timeout) or 1,
            autogenerate_session_id=False,
            query_retries=0,
        )


def quote(identifier: str) -> str:
    """An identifier as it stands in a statement."""
    escaped = identifier.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
