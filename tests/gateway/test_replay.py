"""Replays of dead letters."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from gateway.bisection import Refused
from gateway.dead_letters import DeadLetters
from gateway.replay import Replay
from gateway.spool.cut import Unit
from gateway.telemetry.metrics import Metrics
from otlp.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = pa.table({"SpanName": ["one", "two"]})


class Inserter:
    """Takes rows, or raises what it is told to."""

    def __init__(self, *faults: Exception | None) -> None:
        self._faults = iter(faults)
        self.taken: list[tuple[str, str, list[str]]] = []

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert or fail."""
        fault = next(self._faults)
        if fault is not None:
            raise fault
        self.taken.append((table, token, rows["SpanName"].to_pylist()))


@pytest.fixture
def letters(tmp_path: Path) -> DeadLetters:
    """Two letters, one of which waits to be replayed."""
    letters = DeadLetters(tmp_path)
    refused = Refused(0, 2, PermanentError("no", reason="refused"))
    letters.add("a", Unit(0, "spans_data", "202601", [(0, 2)]), refused, ROWS)
    letters.add("b", Unit(0, "spans_data", "202601", [(0, 2)]), refused, ROWS)
    letters.request_replay(letters.letters()[0])
    return letters


def test_what_waits_is_inserted_and_gone(letters: DeadLetters) -> None:
    """Rows that a person asked for are inserted once, under a token of their own; others stay."""
    inserter = Inserter(None)
    metrics = Metrics()
    replay = Replay(letters, inserter, metrics, ThreadPoolExecutor(1))
    (waiting,) = letters.to_replay()
    replay.replay()
    replay.replay()
    assert inserter.taken == [("spans_data", waiting.token, ["one", "two"])]
    assert [letter.name for letter in letters.letters()] == ["b-0-0"]
    assert metrics.registry.get_sample_value("tollgate_replayed_rows_total", {"table": "spans_data"}) == 2


def test_what_is_refused_again_waits_no_more(letters: DeadLetters) -> None:
    """Rows that ClickHouse refuses again stay in the dead letters with the newer reason."""
    Replay(letters, Inserter(PermanentError("never", reason="x")), Metrics(), ThreadPoolExecutor(1)).replay()
    assert letters.to_replay() == []
    assert [letter.message for letter in letters.letters()] == ["never", "no"]


def test_what_cannot_be_inserted_now_waits_on(letters: DeadLetters) -> None:
    """While ClickHouse is away, what was asked for stays asked for."""
    with pytest.raises(RetryableError):
        Replay(letters, Inserter(RetryableError("away")), Metrics(), ThreadPoolExecutor(1)).replay()
    assert len(letters.to_replay()) == 1


def test_a_damaged_letter_keeps_no_other_from_being_replayed(letters: DeadLetters, tmp_path: Path) -> None:
    """Rows that cannot be read wait no more and say why; what a letter says of itself need not be readable either."""
    letters.request_replay(letters.letters()[1])
    (tmp_path / "a-0-0.replay").write_bytes(b"ARROW1")
    inserter = Inserter(None)
    Replay(letters, inserter, Metrics(), ThreadPoolExecutor(1)).replay()
    assert len(inserter.taken) == 1
    (left,) = letters.letters()
    assert (left.name, left.reason, left.is_waiting) == ("a-0-0", "unreadable", False)
    (tmp_path / "a-0-0.json").write_text("{")
    (left,) = letters.letters()
    assert left.reason == "unreadable"
    letters.drop(left)
    assert list(tmp_path.iterdir()) == []
