"""Two hundred analysts and a thousand deliveries a second on one gateway with its embedded ClickHouse.

    .venv/bin/python -m benchmarks.readers.run [--seconds 60] [--readers 200] [--rate 1000] [--spans 1000000]

Starts a gateway in a directory of its own, fills `spans` and `llm_calls`, and then sends deliveries (three spans each,
as OpenRouter sends them) while readers ask one query after the other. Prints what was acknowledged, stored and asked,
the latencies, and the memory of both processes; exits with 1 if a delivery was refused or a span lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from benchmarks.gateway import KEY, Gateway
from gateway.sample import generation_id, sample_delivery

if TYPE_CHECKING:
    from collections.abc import Iterator

SENDERS = 32
QUERIES = (
    "SELECT Model, count(), sum(CostUsd) FROM llm_calls GROUP BY Model",
    "SELECT Metadata['department'] AS Team, sum(CostUsd) AS Usd FROM llm_calls GROUP BY Team ORDER BY Usd DESC",
    "SELECT toStartOfHour(CallTime) AS Hour, quantile(0.95)(Duration) FROM llm_calls GROUP BY Hour ORDER BY Hour",
    "SELECT SpanName, Duration, StatusCode FROM spans WHERE TraceId = '{trace_id}' ORDER BY Timestamp",
    "SELECT count() FROM spans WHERE StatusCode = 'STATUS_CODE_ERROR'",
    "SELECT SpanAttributes FROM spans LIMIT 1000 FORMAT JSONEachRow",
)
PER_DELIVERY = 3
PATIENCE = 120.0  # seconds for what is in the spool after the load


def _deliveries(seed: int) -> Iterator[bytes]:
    """Requests that differ in every id: a template, with the ids replaced."""
    numbers = random.Random(seed)
    generation = generation_id(1795304410, b"\x0b" * 20)
    document = sample_delivery(generation, time.time_ns())
    spans = [span for each in document["resourceSpans"] for scope in each["scopeSpans"] for span in scope["spans"]]
    template = orjson.dumps(document)
    ids = [span["spanId"].encode() for span in spans]
    trace_id = spans[0]["traceId"].encode()
    head = "POST /v1/traces HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {KEY}\r\n"
    while True:
        fresh = numbers.randbytes(40).hex().encode()
        body = template.replace(generation.encode(), generation_id(1795304410, numbers.randbytes(20)).encode())
        body = body.replace(trace_id, fresh[:32])
        for number, old in enumerate(ids):
            body = body.replace(old, fresh[32 + 16 * number : 48 + 16 * number])
        yield head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def send(address: str, rate: float, seconds: float, seed: int, results: Any) -> None:
    """Send deliveries at a rate over kept connections; what came of them goes to the queue."""
    results.put(asyncio.run(_send(address, rate, seconds, seed)))


async def _send(address: str, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    host, _, port = address.partition(":")
    deliveries = _deliveries(seed)
    started = time.monotonic()
    due = iter(range(int(rate * seconds)))
    latencies: list[float] = []
    refused = 0

    async def one_sender() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in due:
            wait = started + number / rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if time.monotonic() - started > 2 * seconds:
                break
            begun = time.monotonic()
            writer.write(next(deliveries))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append(time.monotonic() - begun)
            refused += b" 200 " not in head.split(b"\r\n")[0]
        writer.close()

    await asyncio.gather(*(one_sender() for _ in range(SENDERS)))
    return {"acknowledged": len(latencies) - refused, "refused": refused, "seconds": time.monotonic() - started} | {
        f"p{percent}": sorted(latencies)[int(len(latencies) * percent / 100)] for percent in (50, 95, 99)
    }


def read(address: str, readers: int, seconds: float, trace_id: str, results: Any) -> None:
    """Ask queries; what came of them goes to the queue."""
    results.put(asyncio.run(_read(address, readers, seconds, trace_id)))


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
    results = multiprocessing.Queue()
    send(gateway.http, 2000, 0.5, 0, results)
    while gateway.metric("spool_spans") > 0:
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
    sent, asked = multiprocessing.Queue(), multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=send, args=(gateway.http, options.rate, options.seconds, 1, sent)),
        multiprocessing.Process(
            target=read, args=(gateway.clickhouse, options.readers, options.seconds, trace_id, asked)
        ),
    ]
    peak = dict(idle)
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        peak = {name: max(peak[name], now) for name, now in gateway.resident_bytes().items()}
        time.sleep(0.2)
    sending, reading = sent.get(), asked.get()
    begun = time.monotonic()
    expected = {
        "spans": stored["spans"] + PER_DELIVERY * sending["acknowledged"],
        "llm_calls": stored["llm_calls"] + sending["acknowledged"],
    }
    while (now := _counts(gateway)) != expected and time.monotonic() - begun < PATIENCE:
        time.sleep(0.2)
    drained = time.monotonic() - begun
    doubled = int(gateway.sql("SELECT count() - uniqExact(Destination, Timestamp, TraceId, SpanId) FROM spans"))
    lost = sum(expected.values()) - sum(now.values())
    rate = sending["acknowledged"] / sending["seconds"]
    print(f"deliveries   {sending['acknowledged']} acknowledged, {sending['refused']} refused, {rate:.0f} a second")
    print("latency      " + ", ".join(f"p{percent} {sending[f'p{percent}'] * 1e3:.0f} ms" for percent in (50, 95, 99)))
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
    return int(bool(lost or doubled or sending["refused"] or restarts))


def _counts(gateway: Gateway) -> dict[str, int]:
    return {table: int(gateway.sql(f"SELECT count() FROM {table}")) for table in ("spans", "llm_calls")}


if __name__ == "__main__":
    sys.exit(main())
