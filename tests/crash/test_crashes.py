"""The promise, under everything that may go wrong at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.crash.rounds import Report, play
from tests.crash.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS = 20
SEED = 1


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_there_twice(
    tmp_path: Path, free_port: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Through kills, broken connections, full disks and damaged segments each acknowledged span is stored once.

    Or it is in the dead letters, if ClickHouse refuses it, and the ledger closes after every round.
    """
    report = Report()
    with Stage(tmp_path, free_port) as stage:
        for report in play(stage, ROUNDS, SEED):
            assert report.lost == []
            assert report.twice == []
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    assert report.faults["kills between an insert and its answer"] >= 10
    assert report.dead_lettered > 0
