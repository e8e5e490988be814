"""Dead letters: the rows that were refused, as they were, and the reason beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pytest

from gateway.bisection import Refused
from gateway.dead_letters import DeadLetters
from gateway.spool.cut import Unit
from otlp.errors import PermanentError

if TYPE_CHECKING:
    from pathlib import Path

SEGMENT = "00000000000000000007-ab12cd34"
UNIT = Unit(3, "spans_data", "202601", [(0, 3)])
ROWS = pa.table(
    {
        "SpanName": pa.chunked_array([["chat", "töte"], [None]], pa.string()),
        "Resource": pa.array([[("a", "b")], [], None], pa.map_(pa.string(), pa.string())),
    }
)
REFUSED = Refused(5, 8, PermanentError("ClickHouse says: no.\nTwice.", reason="refused", count=3))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The dead-letter directory, which is made when it is needed."""
    return tmp_path / "data" / "dead-letter"


def read(path: Path) -> pa.Table:
    """The rows of an Arrow IPC file."""
    with pa.ipc.open_file(path) as reader:
        return reader.read_all()


def test_rows_and_reason_stand_beside_each_other(directory: Path) -> None:
    """A refused unit is two files of its name: the rows as they were, and why they were refused."""
    DeadLetters(directory).add(SEGMENT, UNIT, REFUSED, ROWS)
    assert sorted(path.name for path in directory.iterdir()) == [f"{SEGMENT}-3-5.arrow", f"{SEGMENT}-3-5.json"]
    assert read(directory / f"{SEGMENT}-3-5.arrow").equals(ROWS)
    assert orjson.loads((directory / f"{SEGMENT}-3-5.json").read_bytes()) == {
        "table": "spans_data",
        "rows": 3,
        "reason": "refused",
        "message": "ClickHouse says: no.\nTwice.",
    }


def test_a_unit_that_is_refused_again_is_kept_once(directory: Path) -> None:
    """After a crash the same unit is refused once more, and replaces what was written of it."""
    letters = DeadLetters(directory)
    letters.add(SEGMENT, UNIT, Refused(5, 8, PermanentError("half", reason="refused")), ROWS)
    (directory / f"{SEGMENT}-3-5.arrow.tmp").write_bytes(b"cut off")
    letters.add(SEGMENT, UNIT, REFUSED, ROWS)
    assert len(list(directory.iterdir())) == 2
    assert read(directory / f"{SEGMENT}-3-5.arrow").equals(ROWS)


def test_units_are_kept_apart(directory: Path) -> None:
    """Each unit of each segment has files of its own."""
    letters = DeadLetters(directory)
    for segment in ("a", "b"):
        for number in (1, 2):
            letters.add(segment, Unit(number, "spans_data", "202601", [(0, 1)]), REFUSED, ROWS.slice(0, number))
    assert {path.stem: read(path).num_rows for path in directory.glob("*.arrow")} == {
        "a-1-5": 1,
        "a-2-5": 2,
        "b-1-5": 1,
        "b-2-5": 2,
    }


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Rows that could not be kept are not taken for kept: the error reaches the export loop."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        DeadLetters(tmp_path / "file" / "dead-letter").add(SEGMENT, UNIT, REFUSED, ROWS)


def test_letters_are_listed_replayed_and_dropped(directory: Path) -> None:
    """A letter is listed with its reason, waits to be replayed, is refused again with another, and is dropped."""
    letters = DeadLetters(directory)
    assert letters.letters() == []
    letters.add(SEGMENT, UNIT, REFUSED, ROWS)
    (letter,) = letters.letters()
    assert (letter.name, letter.table, letter.rows, letter.reason) == (f"{SEGMENT}-3-5", "spans_data", 3, "refused")
    assert letters.rows(letter).equals(ROWS)
    letters.request_replay(letter)
    (waiting,) = letters.to_replay()
    assert (waiting.is_waiting, waiting.token) == (True, letter.token)
    assert letters.rows(waiting).equals(ROWS)
    letters.refused_again(waiting, PermanentError("still no", reason="refused"))
    (again,) = letters.letters()
    assert (again.is_waiting, again.message) == (False, "still no")
    letters.drop(again)
    assert list(directory.iterdir()) == []
