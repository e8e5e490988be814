"""The dead-letter directory: rows that ClickHouse refuses for good, with the reason beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from gateway.spool.durable import write_durably

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.bisection import Refused
    from gateway.spool.cut import Unit


class DeadLetters:
    """Writes `<segment>-<unit>-<first row>.arrow` (an Arrow IPC file) and `.json` (why) into a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, segment: str, unit: Unit, refused: Refused, rows: pa.Table) -> None:
        """Keep the refused rows of a unit; on return they are on disk."""
        self._directory.mkdir(parents=True, exist_ok=True)
        name = f"{segment}-{unit.number}-{refused.start}"
        error = refused.error
        reason = {"table": unit.table, "rows": rows.num_rows, "reason": error.reason, "message": str(error)}
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        write_durably(self._directory / f"{name}.json", orjson.dumps(reason, option=orjson.OPT_INDENT_2))
        write_durably(self._directory / f"{name}.arrow", sink.getvalue())
