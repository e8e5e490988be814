"""What a span costs: CPU time by process, latency of the acknowledgement, and what is stored, beside Rotel.

    .venv/bin/python -m benchmarks.throughput.run [--seconds 8] [--only saturation] [--systems Tollgate] [--profile]

Starts a gateway in a directory of its own, and Rotel, which writes into the same ClickHouse. Each workload is sent to
one after the other from a process that is not counted, with nothing else going on. CPU time is counted from the first
request until all rows are stored and ClickHouse merges no more. Exits with 1 if Tollgate refused, lost or doubled any.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import rotel
from benchmarks.gateway import KEY, PRIVATE_KEY, Gateway
from benchmarks.generator import Form, Traffic, spans_per_body
from benchmarks.load import Background, Load, Sent, send
from benchmarks.processes import Processes, machine_seconds
from benchmarks.throughput import profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_LOOK_EVERY = 0.5
_STALLED = 10.0  # seconds without another row, after which those that lack are lost
_MERGES = 30.0  # seconds for merges to end
_AFTER = 5.0  # seconds that a profile goes on after the load, for what waits in the spool
_AN_HOUR = 1 / 24


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent, how fast (None: as fast as it is acknowledged), and for how many times the seconds asked for."""

    name: str
    form: Form
    rate: float | None
    times: float = 1.0


WORKLOADS = (
    Workload("deliveries, 50/s", "deliveries", 50, times=2.5),  # few requests: CPU time is counted in steps of 10 ms
    Workload("deliveries, 500/s", "deliveries", 500),
    Workload("deliveries, saturation", "deliveries", None),
    Workload("SDK protobuf, saturation", "protobuf", None),
    Workload("SDK JSON, saturation", "json", None),
)


@dataclass(frozen=True, slots=True)
class System:
    """What is measured: where it listens, its processes, and where its rows are."""

    name: str
    address: str
    key: str
    processes: Processes
    tables: tuple[str, ...]
    rows: str  # a query for how many spans are stored, each counted once

    @property
    def stored(self) -> str:
        """A query for how many rows there are in the table of spans; it costs nothing."""
        return f"SELECT count() FROM {self.tables[0]}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a workload came to: CPU in microseconds a span, and the seconds until all was stored.

    `others` is how many cores were busy with what does not belong to the benchmark.
    """

    workload: Workload
    system: str
    sent: Sent
    stored: int
    own: float
    clickhouse: float
    until_stored: float
    others: float

    @property
    def is_exact(self) -> bool:
        """Whether each span that was sent is stored, once."""
        return self.stored == self.sent.spans and not self.sent.refused


def systems(gateway: Gateway, peer: rotel.Rotel | None) -> list[System]:
    """All that are measured, the peer last."""
    tables, rows = ("spans_data", "calls_data"), "SELECT count() FROM spans"
    found = [
        System("Tollgate", gateway.http, KEY, gateway.gateway, tables, rows),
        System("Tollgate, private", gateway.http, PRIVATE_KEY, gateway.gateway, tables, rows),
    ]
    if peer is not None:
        rows = f"SELECT count() FROM {rotel.TABLE}"
        found.append(System("Rotel", peer.http, "", peer.processes, (rotel.TABLE,), rows))
    return found


def measure(gateway: Gateway, system: System, workload: Workload, seconds: float, traffic: Traffic) -> Result:
    """Send a workload to a system whose tables are emptied before."""
    for table in system.tables:
        gateway.sql(f"TRUNCATE TABLE {table}")
    _wait_for_merges(gateway)
    clickhouse = gateway.processes["clickhouse"]
    own_before, clickhouse_before = system.processes.cpu_seconds(), clickhouse.cpu_seconds()
    begun, others_before = time.monotonic(), _seconds_of_others()
    load = Load(system.address, system.key, traffic, workload.form, workload.rate, workload.times * seconds)
    sent = Background(send, load).result()
    until_stored = _wait_for_rows(gateway, system.stored, sent.spans) - begun
    _wait_for_merges(gateway)
    own, in_clickhouse = system.processes.cpu_seconds() - own_before, clickhouse.cpu_seconds() - clickhouse_before
    others = (_seconds_of_others() - others_before) / (time.monotonic() - begun)
    per_span = 1e6 / max(sent.spans, 1)
    stored = int(gateway.sql(system.rows))
    return Result(workload, system.name, sent, stored, own * per_span, in_clickhouse * per_span, until_stored, others)


def _seconds_of_others() -> float:
    """CPU time of all that is not this process, its descendants, or a load that has ended."""
    ended = os.times()
    return machine_seconds() - Processes(os.getpid()).cpu_seconds() - ended.children_user - ended.children_system


def _wait_for_rows(gateway: Gateway, query: str, expected: int) -> float:
    """Wait until so many rows are there, or no more come; when the last came."""
    rows, since = -1, time.monotonic()
    while rows < expected and time.monotonic() - since < _STALLED:
        now = int(gateway.sql(query))
        if now != rows:
            rows, since = now, time.monotonic()
        time.sleep(_LOOK_EVERY)
    return since


def _wait_for_merges(gateway: Gateway) -> None:
    until = time.monotonic() + _MERGES
    while time.monotonic() < until and int(gateway.sql("SELECT count() FROM system.merges")):
        time.sleep(_LOOK_EVERY)


def table(results: Sequence[Result]) -> Iterator[str]:
    """The results as a Markdown table, and below each workload the ratio of each system to the last one."""
    yield (
        "| workload | system | requests/s | spans/s | CPU µs/request: own + ClickHouse | CPU µs/span: own + ClickHouse "
        "| acknowledged after ms: p50 / p95 / p99 | rows stored / sent |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for workload in dict.fromkeys(result.workload for result in results):
        own = [result for result in results if result.workload == workload]
        for result in own:
            yield _row(result)
        for result in own[:-1]:
            if own[-1].system == "Rotel":
                yield _ratios(result, own[-1])


def _row(result: Result) -> str:
    sent, spans = result.sent, spans_per_body(result.workload.form)
    cells = (
        result.workload.name,
        result.system,
        f"{sent.acknowledged / sent.seconds:.0f}",
        f"{sent.spans / sent.seconds:.0f}",
        f"{result.own * spans:.0f} + {result.clickhouse * spans:.0f}",
        f"{result.own:.1f} + {result.clickhouse:.1f}",
        " / ".join(f"{sent.latency(percent) * 1e3:.1f}" for percent in (50, 95, 99)),
        f"{result.stored} / {sent.spans}" + (f", {sent.refused} refused" if sent.refused else ""),
    )
    return f"| {' | '.join(cells)} |"


def _ratios(result: Result, peer: Result) -> str:
    both, of_peer = result.own + result.clickhouse, peer.own + peer.clickhouse
    cpu = f"own {result.own / peer.own:.2f}, with ClickHouse {both / of_peer:.2f}"
    latency = " / ".join(f"{result.sent.latency(p) / peer.sent.latency(p):.1f}" for p in (50, 95, 99))
    speed = (result.sent.spans / result.sent.seconds) / (peer.sent.spans / peer.sent.seconds)
    return f"| | {result.system} ÷ {peer.system} | {speed:.2f} | {speed:.2f} | | {cpu} | {latency} | |"


def main() -> int:
    """Run it and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8, help="how long each workload is sent")
    parser.add_argument("--only", default="", help="only workloads with this in their name")
    parser.add_argument("--systems", default="", help="only systems whose names begin with this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=Traffic().prompt, help="median length of a prompt")
    parser.add_argument("--profile", action="store_true", help="show instead where the gateway's CPU time goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tollgate-throughput-") as name:
        directory = Path(name)
        gateway = Gateway(directory)
        peer = None
        try:
            if rotel.is_installed() and not options.profile:
                peer = rotel.Rotel(directory, gateway)
            return _run(gateway, peer, options)
        finally:
            if peer is not None:
                peer.stop()
            gateway.stop()


def _run(gateway: Gateway, peer: rotel.Rotel | None, options: argparse.Namespace) -> int:
    traffic = Traffic(seed=options.seed, days=_AN_HOUR, prompt=options.prompt, end=time.time_ns())
    only = options.only or ("saturation" if options.profile else "")
    chosen = [workload for workload in WORKLOADS if only in workload.name]
    measured = [system for system in systems(gateway, peer) if system.name.startswith(options.systems)]
    for system in measured:  # what only the first requests cost is not measured
        measure(gateway, system, WORKLOADS[2], 2, traffic)
    if options.profile:
        return _profile(gateway, measured[0], chosen, options.seconds, traffic)
    results = []
    for workload in chosen:
        for system in measured:
            if system.name == "Tollgate, private" and workload.rate is not None:
                continue
            results.append(measure(gateway, system, workload, options.seconds, traffic))
            print(_row(results[-1]), f"{results[-1].until_stored:.1f} s until stored", file=sys.stderr, flush=True)
    sizes = {result.workload.form: result.sent.size / 1e3 for result in results}
    others = sum(result.others for result in results) / len(results)
    print(f"\n{os.cpu_count()} cores, of which others used {others:.1f}; {options.seconds:g} s each, 32 connections;")
    print("mean body:", ", ".join(f"{form} {size:.1f} kB" for form, size in sizes.items()), end="\n\n")
    print(*table(results), sep="\n")
    if peer is not None and not all(result.is_exact for result in results if result.system == "Rotel"):
        print(f"\nRotel's log ends with:\n{peer.log()[-2000:]}")
    return int(not all(result.is_exact for result in results if result.system != "Rotel"))


def _profile(gateway: Gateway, system: System, workloads: Sequence[Workload], seconds: float, traffic: Traffic) -> int:
    for workload in workloads:
        watchers = [Background(profile.watch, pid, workload.times * seconds + _AFTER) for pid in gateway.gateway.pids()]
        result = measure(gateway, system, workload, seconds, traffic)
        found = [watcher.result().stages() for watcher in watchers]
        stages = {stage: sum(each.get(stage, 0.0) for each in found) for stage in profile.ORDER}
        print(f"\n{workload.name}: {result.own:.1f} µs of CPU a span\n\n| stage | µs/span | share |\n|---|--:|--:|")
        for stage, cpu in stages.items():
            share = cpu / sum(stages.values())
            if share >= 0.0005:
                print(f"| {stage} | {share * result.own:.1f} | {share:.1%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
