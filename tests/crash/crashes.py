"""What may go wrong, one function each: it does it, and leaves everything running again but for faults of the proxy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from exporters.clickhouse.rows import layout
from gateway.spool.segment import read_segment
from tests.end_to_end.harness import until
from tests.faults.proxy import Fault

if TYPE_CHECKING:
    import random
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path

    from tests.crash.sender import Sender
    from tests.crash.stage import Stage

INSERT = b"INSERT"
_FAILED = b"HTTP/1.1 500 Oops\r\nX-ClickHouse-Exception-Code: %d\r\nContent-Length: 4\r\n\r\nno.\n"
_PASSING_CODES = (252, 242, 241, 202, 159, 999)


@dataclass(slots=True)
class Scene:
    """A round in which things go wrong: `counts` says what, `spoilt` has the ids of spans whose record was damaged."""

    stage: Stage
    sender: Sender
    random: random.Random
    counts: Counter[str]
    spoilt: set[str] = field(default_factory=set)

    def kill(self, who: str) -> None:
        """Kill -9 of a worker, the supervisor or ClickHouse, and start it again unless someone else does."""
        self.counts[f"kill {who}"] += 1
        # The one moment at which nobody but ClickHouse can know whether the rows are stored.
        self.counts["kills between an insert and its answer"] += self.stage.proxy.unanswered(INSERT) > 0
        match who:
            case "worker":
                self.stage.kill_worker(self.random.randrange(2))
            case "supervisor":
                self.stage.kill_supervisor()
                self.stage.gateway.start()
            case "clickhouse":
                self.stage.kill_clickhouse()
                self.stage.start_clickhouse()

    def inject(self, fault: Fault, **options: Any) -> None:
        """Have the proxy do something from now on, and wait until it has done it and spans still flow."""
        before = self.stage.proxy.counts.get(fault, 0)
        self.stage.proxy.set(fault, **options)
        until(lambda: self.stage.proxy.counts.get(fault, 0) > before, 20)
        self.sender.flows(20)
        self.counts[fault] += self.stage.proxy.counts[fault] - before

    def until_inserting(self) -> None:
        """Wait for a moment at which ClickHouse has an insert whole and the gateway has no answer."""
        until(lambda: self.stage.proxy.unanswered(INSERT), 20)


Crash: TypeAlias = "Callable[[Scene], None]"


def killed(scene: Scene) -> None:
    """Any process is killed at any moment."""
    scene.kill(scene.random.choice(["worker", "supervisor", "clickhouse"]))


def killed_amid_an_insert(scene: Scene) -> None:
    """Any process is killed while an insert has no answer; sometimes ClickHouse's answer is on its way."""
    if scene.random.random() < 0.5:
        scene.counts["withhold"] += 1
        scene.stage.proxy.set(Fault.WITHHOLD, only=INSERT, times=1)
    scene.until_inserting()
    scene.kill(scene.random.choice(["worker", "supervisor", "clickhouse"]))
    scene.stage.proxy.clear()


def broken_connections(scene: Scene) -> None:
    """Requests or answers are cut off, withheld or slow, each a few times."""
    faults: list[tuple[Fault, dict[str, Any]]] = [
        (Fault.CUT_REQUEST, {"after": scene.random.randrange(20_000)}),
        (Fault.CUT_RESPONSE, {"after": scene.random.randrange(400)}),
        (Fault.CUT_RESPONSE, {"after": -scene.random.randrange(1, 50)}),
        (Fault.DROP, {}),
        (Fault.DEAD_IDLE, {}),
        (Fault.DELAY, {"seconds": 0.2}),
        (Fault.THROTTLE, {"rate": 300_000}),
    ]
    for fault, options in scene.random.sample(faults, 3):
        scene.inject(fault, times=3, **options)
    scene.stage.proxy.clear()


def failing_clickhouse(scene: Scene) -> None:
    """ClickHouse refuses inserts for a passing reason, or is not there at all."""
    code = scene.random.choice((*_PASSING_CODES, 0))
    if code:
        scene.inject(Fault.ANSWER, only=INSERT, answer=_FAILED % code)
    else:
        scene.inject(Fault.REFUSE)
    scene.stage.proxy.clear()


def full_disk(scene: Scene) -> None:
    """The disk of the spool is full, with a kill in the middle of it."""
    scene.counts["full disk"] += 1
    with scene.stage.full_disk():
        scene.sender.is_refused()
        scene.kill("worker")
        scene.sender.is_refused()
    scene.stage.all_run()


def damaged_segment(scene: Scene) -> None:
    """While ClickHouse is away and the gateway was killed, a record of a segment that waits is overwritten."""
    scene.counts[Fault.REFUSE] += 1
    scene.stage.proxy.set(Fault.REFUSE)
    until(lambda: scene.stage.segments(".sealed"), 20)
    scene.sender.flows(5)
    scene.counts["kill supervisor"] += 1
    scene.stage.kill_supervisor()
    # Its workers end a moment later.
    path = scene.random.choice(scene.stage.segments(".sealed"))
    scene.spoilt |= _spoil(path, scene.random)
    scene.counts["damaged segment"] += 1
    scene.stage.proxy.clear()
    scene.stage.gateway.start()


def _spoil(path: Path, chance: random.Random) -> set[str]:
    """Overwrite a few bytes of one batch of rows; returns the ids of its spans."""
    segment = read_segment(path)
    record = chance.choice(segment.records)
    content = bytearray(path.read_bytes())
    start = content.index(record.serialize().to_pybytes())
    position = start + chance.randrange(record.serialize().size - 8)
    content[position : position + 4] = bytes(byte ^ 0xFF for byte in content[position : position + 4])
    path.write_bytes(bytes(content))
    spans: list[str] = layout().unpack(pa.Table.from_batches([record]))["SpanId"].to_pylist()
    return set(spans)


CRASHES: tuple[Crash, ...] = (
    killed,
    broken_connections,
    failing_clickhouse,
    full_disk,
    damaged_segment,
)
