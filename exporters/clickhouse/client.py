"""The connection to ClickHouse over HTTP, and what its failures mean: try again, or never."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from exporters.clickhouse.transport import Deadline, new_manager
from otlp.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

    from clickhouse_connect.driver.client import Client as Driver
    from urllib3 import BaseHTTPResponse

REFUSES_THE_DATA: Final = frozenset(
    {
        # A value does not fit the type that its column has on the server.
        6,  # CANNOT_PARSE_TEXT
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        130,  # CANNOT_READ_ARRAY_FROM_TEXT
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        376,  # CANNOT_PARSE_UUID
        407,  # DECIMAL_OVERFLOW
        441,  # CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING
        467,  # CANNOT_PARSE_BOOL
        563,  # CANNOT_READ_MAP_FROM_TEXT
        632,  # UNEXPECTED_DATA_AFTER_PARSED_VALUE
        675,  # CANNOT_PARSE_IPV4
        676,  # CANNOT_PARSE_IPV6
        691,  # UNKNOWN_ELEMENT_OF_ENUM
        # The arrays of a row's events or links differ in length.
        190,  # SIZES_OF_ARRAYS_DONT_MATCH
        366,  # SIZES_OF_NESTED_COLUMNS_ARE_INCONSISTENT
        # What the operator has the server compute of each row does not go with this one.
        153,  # ILLEGAL_DIVISION
        395,  # FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
        469,  # VIOLATED_CONSTRAINT
    }
)
"""ClickHouse's codes for a value that it will not take however often it is sent: some rows are at fault, others not.

No other code is held against the data, known or not: it would cost rows that are good. In particular not

- those of the server's state: 159 TIMEOUT_EXCEEDED, 202 TOO_MANY_SIMULTANEOUS_QUERIES, 210 NETWORK_ERROR, 236 ABORTED,
  241 MEMORY_LIMIT_EXCEEDED, 242 TABLE_IS_READ_ONLY, 243 NOT_ENOUGH_SPACE, 252 TOO_MANY_PARTS, 319
  UNKNOWN_STATUS_OF_INSERT, 394 QUERY_WAS_CANCELLED, 745 SERVER_OVERLOADED, 999 KEEPER_EXCEPTION, ...: they pass;
- those of the schema, which meet all rows alike and are mended there: 16 NO_SUCH_COLUMN_IN_TABLE, 43
  ILLEGAL_TYPE_OF_ARGUMENT, 48 NOT_IMPLEMENTED (no such conversion), 53 TYPE_MISMATCH, 60 UNKNOWN_TABLE, 81
  UNKNOWN_DATABASE, 774 TABLE_IS_PERMANENTLY_READ_ONLY;
- those of users, rights and limits: 158 TOO_MANY_ROWS, 164 READONLY, 201 QUOTA_EXCEEDED, 396 TOO_MANY_ROWS_OR_BYTES,
  452 SETTING_CONSTRAINT_VIOLATION, 497 ACCESS_DENIED, 516 AUTHENTICATION_FAILED, ...;
- those of a request that did not arrive whole, because the stream is well-formed when it leaves: 3
  UNEXPECTED_END_OF_FILE, 32 ATTEMPT_TO_READ_AFTER_EOF, 33 CANNOT_READ_ALL_DATA, 636 CANNOT_EXTRACT_TABLE_STRUCTURE;
- 1001 STD_EXCEPTION, 1002 UNKNOWN_EXCEPTION, 49 LOGICAL_ERROR: mistakes of the server's.
"""

_TROUBLE: Final = {
    16: "the table lacks a column",
    43: "the table's types do not go with the rows",
    48: "the table's types do not go with the rows",
    53: "the table's types do not go with the rows",
    60: "the table is not there",
    81: "the database is not there",
    159: "the insert took longer than the server allows",
    164: "the user may only read",
    201: "the user's quota is used up",
    202: "the server has too many queries at once",
    241: "the server has no memory for it now",
    242: "the table is read-only",
    243: "the server's disk is full",
    252: "the table has too many parts",
    319: "the server does not know whether it stored the rows",
    452: "the user may not change a setting that the insert needs",
    497: "the user lacks a right",
    516: "user or password are wrong",
    774: "the table is read-only",
    999: "the server has trouble with its Keeper",
}
"""What the log says first of failures that an operator is likely to meet."""

_WAIT: Final = {"wait_end_of_query": "1"}
"""The status is sent with the end of the query and not before, so that it tells of an error at any time."""

_ONE_BLOCK: Final = {
    "max_insert_block_size": "1048576",
    "max_insert_block_size_bytes": "0",
    "min_insert_block_size_rows": "0",
    "min_insert_block_size_bytes": "0",
    "max_insert_threads": "1",
}
"""The rows of an insert are stored together or not at all, whatever the user's profile says.

ClickHouse remembers an insert's token for each of its blocks. Stored in part as several blocks and sent again as one,
the rest would be taken for known, and be lost while the answer is good.
"""


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
        self._manager = new_manager(connection.url)
        self._driver: Driver | None = None

    def command(self, sql: str, *, database: str | None = None) -> None:
        """Run a statement that returns nothing."""
        settings = {"database": database} if database is not None else {}
        self._call("command", sql, settings=settings)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a query; each row by column name."""
        result = self._call("query", sql, parameters=dict(parameters or {}))
        return list(result.named_results())

    def insert_arrow(
        self, table: str, columns: list[str], stream: bytes, settings: Mapping[str, str], *, rows: int
    ) -> None:
        """Insert an Arrow IPC stream of so many rows into a table of the connection's database.

        Returns when ClickHouse has confirmed all rows in an answer that is whole.
        """
        self._call(
            "raw_insert",
            f"{quote(self._connection.database)}.{quote(table)}",
            columns,
            stream,
            settings={**settings, **_WAIT},
            supported=_ONE_BLOCK,
            fmt="ArrowStream",
        )
        doubt = _doubt(self._manager.answer, rows)
        if doubt:
            self.close()
            raise RetryableError(f"ClickHouse did not confirm an insert: {doubt}")

    def close(self) -> None:
        """Drop the connection."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None
        self._manager.close()

    def _call(self, method: str, *arguments: Any, supported: Mapping[str, str] | None = None, **options: Any) -> Any:
        """Call the driver; failures become RetryableError, or PermanentError where the data is at fault.

        Of the settings in `supported` those are sent that the server has.
        """
        is_asked = False
        deadline = Deadline(self._connection.timeout)
        try:
            with deadline:
                driver = self._driver = self._driver or self._connect()
                known = {name: value for name, value in (supported or {}).items() if name in driver.server_settings}
                options["settings"] = {**options.get("settings", {}), **known}
                is_asked = True
                return getattr(driver, method)(*arguments, **options)
        except Exception as error:
            # Whatever it is: the driver lets errors of other libraries through, and trips over answers that are no
            # ClickHouse's. None of that may be held against the data.
            code = getattr(error, "code", None) if isinstance(error, ClickHouseError) else None
            if is_asked and code in REFUSES_THE_DATA:
                raise PermanentError(
                    f"ClickHouse refuses the data: {_one_line(error)}", reason=f"clickhouse_{code}"
                ) from error
            self.close()
            late = f"it did not finish its answer within {deadline.longest:g} s" if deadline.has_passed else ""
            raise RetryableError(f"ClickHouse: {late or _trouble(error, code)}") from error

    def _connect(self) -> Driver:
        connection = self._connection
        return clickhouse_connect.get_client(
            interface=connection.url.scheme or "http",
            host=connection.url.hostname or "localhost",
            port=connection.url.port or 0,
            username=connection.username,
            password=connection.password,
            # Bounds a silence only for ClickHouse's signs of life; the connections have the deadline's.
            send_receive_timeout=max(1, int(connection.timeout)),
            pool_mgr=self._manager,
            autogenerate_session_id=False,
            query_retries=0,
        )


def quote(identifier: str) -> str:
    """An identifier as it stands in a statement."""
    escaped = identifier.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def _doubt(answer: BaseHTTPResponse | None, rows: int) -> str:
    """Why an answer to an insert is no confirmation; empty if it is one."""
    if answer is None:
        return "there is no answer"
    if answer.data:
        # ClickHouse answers an insert with nothing, or with an error that came too late for the status.
        return f"its answer says {_shortened(answer.data.decode(errors='replace'))}"
    try:
        written = int(json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"])
    except (KeyError, TypeError, ValueError):
        return "the answer has no count of rows, so it is not ClickHouse's own"
    # More are counted where materialized views write too. Rows that are known already are counted.
    return f"it counts {written} of {rows} rows" if written < rows else ""


def _trouble(error: Exception, code: int | None) -> str:
    """What is wrong, in words for an operator."""
    if code in _TROUBLE:
        return f"{_TROUBLE[code]} ({_one_line(error)})"
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    if isinstance(root, OSError | HTTPException | HTTPError):
        return f"it cannot be reached, or did not answer to the end ({type(root).__name__}: {_one_line(root)})"
    if isinstance(error, ClickHouseError):
        return _one_line(error)
    return f"its answer makes no sense ({type(root).__name__}: {_one_line(root)})"


def _one_line(error: BaseException) -> str:
    return _shortened(str(error))


def _shortened(text: str) -> str:
    return " ".join(text.split())[:500]
