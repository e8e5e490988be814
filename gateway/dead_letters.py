"""The dead-letter directory: rows that ClickHouse refuses for good, each unit with the reason beside it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.spool.cut import Unit
    from otlp.errors import PermanentError


class DeadLetters:
    """Writes `<segment>-<unit>.arrow` (an Arrow IPC file) and `.json` (why) into a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, segment: str, unit: Unit, rows: pa.Table, error: PermanentError) -> None:
        """Keep the rows of a unit; on return they are on disk."""
        self._directory.mkdir(parents=True, exist_ok=True)
        name = f"{segment}-{unit.number}"
        reason = {"table": unit.table, "rows": rows.num_rows, "reason": error.reason, "message": str(error)}
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        self._write(f"{name}.json", orjson.dumps(reason, option=orjson.OPT_INDENT_2))
        self._write(f"{name}.arrow", sink.getvalue())

    def _write(self, name: str, content: bytes | pa.Buffer) -> None:
        with (self._directory / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
