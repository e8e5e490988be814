"""Rounds of crashes, each followed by the check that nothing was lost, nothing is there twice, and the books close."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.dead_letters import DeadLetters
from gateway.ledger import read_ledger
from gateway.spool.directories import spool_directories
from gateway.spool.tally import ACCEPTED, DAMAGED, DEAD_LETTERED, RECEIVED, STORED
from tests.crash.crashes import CRASHES, Scene, killed_amid_an_insert
from tests.crash.sender import Sender
from tests.end_to_end.harness import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.stage import Stage

_DRAINED = 120.0


@dataclass(slots=True)
class Report:
    """What happened in all rounds so far, and the ids of what was lost or is there twice: there should be none."""

    rounds: int = 0
    sent: int = 0
    acknowledged: int = 0
    dead_lettered: int = 0
    spoilt: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        special = f"{self.dead_lettered} are dead letters, {self.spoilt} were in records that were overwritten on disk"
        lines = [
            f"{self.rounds} rounds, {self.sent} spans sent, {self.acknowledged} acknowledged, of which {special}",
            *(f"  {count:5} x {kind}" for kind, count in sorted(self.faults.items())),
            f"lost: {len(self.lost)}, twice: {len(self.twice)}",
        ]
        return "\n".join(lines)


def play(stage: Stage, rounds: int, seed: int) -> Iterator[Report]:
    """Play rounds; after each comes the report so far. AssertionError if the ledger does not close."""
    report = Report()
    for number in range(1, rounds + 1):
        chance = random.Random(f"{seed}/{number}")
        trace_id = f"{number:032x}"
        with Sender(stage.gateway, trace_id) as sender:
            scene = Scene(stage, sender, chance, report.faults)
            sender.flows(10)
            for crash in (killed_amid_an_insert, chance.choice(CRASHES)):
                crash(scene)
                sender.flows(5)
        stage.proxy.clear()
        stage.all_run()
        until(stage.gateway.is_drained, _DRAINED)
        report.rounds = number
        report.sent += sender.sent
        report.acknowledged += len(sender.acknowledged)
        _check_spans(stage, trace_id, sender, scene.spoilt, report)
        _check_ledger(stage)
        yield report


def _check_spans(stage: Stage, trace_id: str, sender: Sender, spoilt: set[str], report: Report) -> None:
    stored = _ids(stage, f"SELECT SpanId FROM tollgate.spans WHERE TraceId = '{trace_id}'")
    calls = _ids(stage, f"SELECT splitByChar(':', CallId)[2] FROM tollgate.llm_calls WHERE TraceId = '{trace_id}'")
    letters = DeadLetters(stage.gateway.data / "dead-letter")
    dead = {
        span
        for letter in letters.letters()
        for trace, span in zip(*(letters.rows(letter)[name].to_pylist() for name in ("TraceId", "SpanId")), strict=True)
        if trace == trace_id
    }
    if spoilt:
        assert stage.segments(".damaged"), "what cannot be read any more is not set aside"
    lost = sender.acknowledged - sender.poison - stored.keys() - spoilt
    lost |= sender.poison - dead - spoilt
    lost |= sender.calls - calls.keys() - spoilt
    report.lost += [f"{trace_id}/{span}" for span in sorted(lost)]
    doubled = {span for found in (stored, calls) for span, copies in found.items() if copies > 1}
    report.twice += [f"{trace_id}/{span}" for span in sorted(doubled | (stored.keys() & dead))]
    report.dead_lettered += len(sender.poison & dead)
    report.spoilt += len(spoilt & sender.acknowledged)


def _ids(stage: Stage, sql: str) -> Counter[str]:
    return Counter(stage.ask(sql).split())


def _check_ledger(stage: Stage) -> None:
    """Both equations hold, as the metrics have it and as the files have it."""
    tally = read_ledger(spool_directories(stage.gateway.data))
    assert tally.total(RECEIVED) == tally.total(ACCEPTED) + tally.rejected("default")
    assert tally.total(ACCEPTED) == sum(tally.total(entry) for entry in (STORED, DEAD_LETTERED, DAMAGED))
    assert stage.gateway.ledger_closes()
    assert stage.gateway.metric("stored_spans_total") == tally.total(STORED)
