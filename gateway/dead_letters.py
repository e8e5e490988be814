"""The dead-letter directory: rows that ClickHouse refuses for good, with the reason beside them.

A person lists them, mends what was wrong, and has them replayed by the gateway that runs there, or drops them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
import pyarrow as pa

from gateway.spool.durable import sync_directory, write_durably

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.bisection import Refused
    from gateway.spool.cut import Unit
    from otlp.errors import PermanentError

_DEAD: Final = ".arrow"
_TO_REPLAY: Final = ".replay"


class UnreadableError(Exception):
    """A letter's rows are damaged."""


@dataclass(frozen=True, slots=True)
class Letter:
    """Rows of one table that were refused together; `is_waiting` tells that they are to be replayed."""

    name: str
    table: str
    rows: int
    reason: str
    message: str
    is_waiting: bool

    @property
    def token(self) -> str:
        """The deduplication token of a replay."""
        return hashlib.sha256(f"replay/{self.name}".encode()).hexdigest()


class DeadLetters:
    """Keeps `<segment>-<unit>-<first row>.arrow` (an Arrow IPC file) and `.json` (why) in a directory.

    While rows wait to be replayed, their file's suffix is `.replay`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, segment: str, unit: Unit, refused: Refused, rows: pa.Table) -> None:
        """Keep the refused rows of a unit; on return they are on disk."""
        self._directory.mkdir(parents=True, exist_ok=True)
        name = f"{segment}-{unit.number}-{refused.start}"
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        self._explain(name, unit.table, rows.num_rows, refused.error)
        if not (self._directory / f"{name}{_TO_REPLAY}").exists():  # the same rows, which already wait to be replayed
            write_durably(self._directory / f"{name}{_DEAD}", sink.getvalue())

    def letters(self) -> list[Letter]:
        """All of them, oldest first."""
        found = [*self._directory.glob(f"*{_DEAD}"), *self._directory.glob(f"*{_TO_REPLAY}")]
        return [self._letter(path) for path in sorted(found, key=lambda path: path.stem)]

    def rows(self, letter: Letter) -> pa.Table:
        """The rows themselves; FileNotFoundError if they were dropped or replayed meanwhile, else UnreadableError."""
        content = self._path(letter).read_bytes()
        try:
            with pa.ipc.open_file(content) as reader:
                return reader.read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise UnreadableError(f"the rows of {letter.name} cannot be read: {error}") from error

    def to_replay(self) -> list[Letter]:
        """Those that wait to be replayed."""
        return [letter for letter in self.letters() if letter.is_waiting]

    def request_replay(self, letter: Letter) -> None:
        """Have the gateway insert the rows once more; FileNotFoundError if they are not there any more."""
        self._move(letter, _TO_REPLAY)

    def refused_again(self, letter: Letter, error: PermanentError) -> None:
        """Note that a replay failed for good, and why."""
        self._explain(letter.name, letter.table, letter.rows, error)
        self._move(letter, _DEAD)

    def drop(self, letter: Letter) -> None:
        """Delete the rows and their reason."""
        self._path(letter).unlink(missing_ok=True)
        (self._directory / f"{letter.name}.json").unlink(missing_ok=True)
        sync_directory(self._directory)

    def _explain(self, name: str, table: str, rows: int, error: PermanentError) -> None:
        reason = {"table": table, "rows": rows, "reason": error.reason, "message": str(error)}
        write_durably(self._directory / f"{name}.json", orjson.dumps(reason, option=orjson.OPT_INDENT_2))

    def _letter(self, path: Path) -> Letter:
        is_waiting = path.suffix == _TO_REPLAY
        try:
            told = orjson.loads(path.with_suffix(".json").read_bytes())
            return Letter(path.stem, told["table"], told["rows"], told["reason"], told["message"], is_waiting)
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            message = "What it says of itself cannot be read; it can only be dropped."
            return Letter(path.stem, "", 0, "unreadable", message, is_waiting)

    def _path(self, letter: Letter) -> Path:
        return self._directory / f"{letter.name}{_TO_REPLAY if letter.is_waiting else _DEAD}"

    def _move(self, letter: Letter, suffix: str) -> None:
        self._path(letter).rename(self._directory / f"{letter.name}{suffix}")
        sync_directory(self._directory)
