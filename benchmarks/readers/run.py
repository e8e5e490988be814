"""Two hundred analysts and a thousand deliveries a second on one gateway with its embedded ClickHouse.

    .venv/bin/python -m benchmarks.readers.run [--seconds 60] [--readers 200] [--rate 1000] [--spans 1000000]

Starts a gateway in a directory of its own, fills `spans` and `llm_calls`, and then sends deliveries (three spans each,
as OpenRouter sends them) while readers ask one query after the other. Prints what was acknowledged, stored and asked,
the latencies, and the memory of both processes; exits with 1 if a delivery was refused or a span lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.gateway import KEY, Gateway
from benchmarks.generator import Traffic
from benchmarks.load import Background, Load, send

QUERIES = (
    "SELECT Model, count(), sum(CostUsd) FROM llm_calls GROUP BY Model",
    "SELECT Metadata['department'] AS Team, sum(CostUsd) AS Usd FROM llm_calls GROUP BY Team ORDER BY Usd DESC",
    "SELECT toStartOfHour(CallTime) AS Hour, quantile(0.95)(Duration) FROM llm_calls GROUP BY Hour ORDER BY Hour",
    "SELECT SpanName, Duration, StatusCode FROM spans WHERE TraceId = '{trace_id}' ORDER BY Timestamp",
    "SELECT count() FROM spans WHERE StatusCode = 'STATUS_CODE_ERROR'",
    "SELECT SpanAttributes FROM spans LIMIT 1000 FORMAT JSONEachRow",
)
PATIENCE = 120.0  # seconds for what is in the spool after the load


def read(address: str, readers: int, seconds: float, trace_id: str) -> dict[str, Any]:
    """Ask queries, and tell what came of them."""
    return asyncio.run(_read(address, readers, seconds, trace_id))


async def _read(address: str, readers: int, seconds: float, trace_id: str) -> dict[str, Any]:
    until = time.monotonic() + seconds
    latencies: list[float] = []
    errors: dict[str, int] = {}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=300)

    async with aiohttp.ClientSession(f"http://{address}", connector=connector, timeout=timeout) as session:

        async def one_reader(number: int) -> None:
            while time.monotonic() < until:
                number += 1
                begun = time.monotonic()
                sql = QUERIES[number % len(QUERIES)].format(trace_id=trace_id)
                async with session.post("/?database=tollgate", data=sql) as response:
                    body = await response.read()
                    if response.status != 200:
                        errors[body[:60].decode()] = errors.get(body[:60].decode(), 0) + 1
                latencies.append(time.monotonic() - begun)

        await asyncio.gather(*(one_reader(number) for number in range(readers)))
    return {"queries": len(latencies), "errors": errors, "median": statistics.median(latencies), "max": max(latencies)}


def fill(gateway: Gateway, spans: int) -> None:
    """Bring both tables to their size: a thousand deliveries through the gateway, copied with other ids and times."""
    load = Load(gateway.http, KEY, Traffic(seed=0, end=time.time_ns()), "deliveries", rate=2000, seconds=0.5)
    sent = send(load)
    while _counts(gateway) != {"spans": sent.spans, "llm_calls": sent.acknowledged}:
        time.sleep(0.2)
    copies = spans // int(gateway.sql("SELECT count() FROM spans_data"))
    for table, own in (
        ("spans_data", "lower(hex(sipHash128(TraceId, n))) AS TraceId, Timestamp - toIntervalMinute(n) AS Timestamp"),
        ("calls_data", "concat(CallId, '-', toString(n)) AS CallId, CallTime - toIntervalMinute(n) AS CallTime"),
    ):
        first = gateway.sql(f"SELECT count() FROM {table}")
        for begin in range(1, copies, 50):
            numbers = f"arrayJoin(range({begin}, {min(begin + 50, copies)})) AS n"
            rows = f"(SELECT *, {numbers} FROM (SELECT * FROM {table} LIMIT {first}))"
            gateway.sql(f"INSERT INTO {table} SELECT * EXCEPT n REPLACE ({own}) FROM {rows}")


def main() -> int:
    """Run it and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--spans", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tollgate-readers-") as directory:
        gateway = Gateway(Path(directory))
        try:
            return _measure(gateway, options)
        finally:
            gateway.stop()


def _measure(gateway: Gateway, options: argparse.Namespace) -> int:
    print("Filling the tables ...", flush=True)
    fill(gateway, options.spans)
    stored = _counts(gateway)
    trace_id = gateway.sql("SELECT TraceId FROM spans LIMIT 1").strip()
    idle, used = gateway.resident_bytes(), gateway.cpu_seconds()
    print(f"{stored['spans']} spans, {stored['llm_calls']} calls. Load for {options.seconds:g} s ...", flush=True)
    load = Load(gateway.http, KEY, Traffic(seed=1, end=time.time_ns()), "deliveries", options.rate, options.seconds)
    sender = Background(send, load)
    reader = Background(read, gateway.clickhouse, options.readers, options.seconds, trace_id)
    peak = dict(idle)
    while sender.is_running or reader.is_running:
        peak = {name: max(peak[name], now) for name, now in gateway.resident_bytes().items()}
        time.sleep(0.2)
    sending, reading = sender.result(), reader.result()
    begun = time.monotonic()
    expected = {
        "spans": stored["spans"] + sending.spans,
        "llm_calls": stored["llm_calls"] + sending.acknowledged,
    }
    while (now := _counts(gateway)) != expected and time.monotonic() - begun < PATIENCE:
        time.sleep(0.2)
    drained = time.monotonic() - begun
    doubled = int(gateway.sql("SELECT count() - uniqExact(Destination, Timestamp, TraceId, SpanId) FROM spans"))
    lost = sum(expected.values()) - sum(now.values())
    rate = sending.acknowledged / sending.seconds
    print(f"deliveries   {sending.acknowledged} acknowledged, {sending.refused} refused, {rate:.0f} a second")
    print(
        "latency      " + ", ".join(f"p{percent} {sending.latency(percent) * 1e3:.0f} ms" for percent in (50, 95, 99))
    )
    print(f"stored       {now['spans'] - stored['spans']} spans, {now['llm_calls'] - stored['llm_calls']} calls")
    print(f"             lost {lost}, doubled {doubled}; all was there {drained:.1f} s after the load")
    print(f"queries      {reading['queries']}, {reading['queries'] / options.seconds:.1f} a second")
    print(f"             median {reading['median']:.2f} s, longest {reading['max']:.2f} s, errors {reading['errors']}")
    for name, cpu in gateway.cpu_seconds().items():
        print(
            f"{name:<12} RSS {idle[name] >> 20} MiB idle, {peak[name] >> 20} MiB at most; CPU {cpu - used[name]:.0f} s"
        )
    restarts = gateway.status()["clickhouse"]["restarts"]
    print(f"restarts     {restarts}")
    return int(bool(lost or doubled or sending.refused or restarts))


def _counts(gateway: Gateway) -> dict[str, int]:
    return {table: int(gateway.sql(f"SELECT count() FROM {table}")) for table in ("spans", "llm_calls")}


if __name__ == "__main__":
    sys.exit(main())
