"""What one request asks of the engine, and what the engine gives back: the values between HTTP and engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporters.clickhouse.embedded.sql import Statement


@dataclass(frozen=True, slots=True)
class Query:
    """One query, ready to run on a connection of its own.

    `source` holds the whole text; where `statement.input_format` is set, the data of the INSERT stands in it from
    `statement.data_start` to the end. `settings` and `parameters` are names and values as the client wrote them,
    parameters without the `param_` prefix. `output_format` is the format of the result. The caller closes `source`.
    """

    statement: Statement
    source: IO[bytes]
    output_format: str
    database: str
    settings: Mapping[str, str]
    parameters: Mapping[str, str]
    in_pieces: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of one query, for X-ClickHouse-Summary: rows and bytes read and written, result rows, time in seconds."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed: float = 0.0

    def __add__(self, other: Progress) -> Progress:
        return Progress(
            self.read_rows + other.read_rows,
            self.read_bytes + other.read_bytes,
            self.written_rows + other.written_rows,
            self.written_bytes + other.written_bytes,
            self.result_rows + other.result_rows,
            self.result_bytes + other.result_bytes,
            max(self.elapsed, other.elapsed),  # each piece of a result tells the time since the query's start
        )

    def summary(self) -> dict[str, str]:
        """The counts as ClickHouse writes them: every number as a string."""
        return {
            "read_rows": str(self.read_rows),
            "read_bytes": str(self.read_bytes),
            "written_rows": str(self.written_rows),
            "written_bytes": str(self.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(self.result_rows),
            "result_bytes": str(self.result_bytes),
            "elapsed_ns": str(round(self.elapsed * 1e9)),
        }


@dataclass(frozen=True, slots=True)
class Result:
    """The whole result of a query: bytes in the output format, and its counts."""

    data: bytes
    progress: Progress
