"""What one request asks of the engine, and what the engine gives back: the values between HTTP and engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporters.clickhouse.embedded.sessions import Session
    from exporters.clickhouse.embedded.sql import Statement
    from exporters.clickhouse.embedded.users import User


LABEL: Final = "chdb_client_name"
"""The setting that carries a query's label: any text, which the engine would only tell other servers."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a user, ready to run.

    `source` holds the whole text; where `statement.input_format` is set, the data of the INSERT stands in it from
    `statement.data_start` to the end. `settings` and `parameters` are names and values as the client wrote them,
    parameters without the `param_` prefix. `default_format` is that of the result where the statement names none.
    `is_get` tells that the request's method may change nothing. The caller closes `source`.
    """

    user: User
    query_id: str
    statement: Statement
    source: IO[bytes]
    default_format: str
    database: str
    settings: Mapping[str, str]
    parameters: Mapping[str, str]
    is_get: bool
    session: Session | None

    @property
    def label(self) -> str:
        """What the query is found by among the engine's processes: JSON of who runs what."""
        return json.dumps({"query_id": self.query_id, "user": self.user.name})


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of one query: rows and bytes read and written, of the result, and in all; time in seconds."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    total_rows_to_read: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed: float = 0.0
    memory_usage: int = 0

    def header(self) -> str:
        """The counts as X-ClickHouse-Summary and X-ClickHouse-Progress have them: every number as a string."""
        counts = {
            "read_rows": self.read_rows,
            "read_bytes": self.read_bytes,
            "written_rows": self.written_rows,
            "written_bytes": self.written_bytes,
            "total_rows_to_read": self.total_rows_to_read,
            "result_rows": self.result_rows,
            "result_bytes": self.result_bytes,
            "elapsed_ns": round(self.elapsed * 1e9),
            "memory_usage": self.memory_usage,
        }
        return json.dumps({name: str(count) for name, count in counts.items()}, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a query: its counts, and the bytes of its result that were not written to a pipe."""

    data: bytes
    progress: Progress
