"""CPU time of the processor chain and the encoding for OpenRouter's deliveries, alone and in a batch of a hundred.

    .venv/bin/python benchmarks/chain/run.py

Prints microseconds of CPU for each delivery (three spans), step by step: the median of many rounds, and the best.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import orjson

from config import DestinationSettings
from exporters.clickhouse.rows import encode
from gateway.sample import generation_id, sample_delivery
from otlp.batch import Request
from otlp.builder import SpanBatchBuilder
from otlp.decode_json import decode_json
from processors.base import Context
from processors.registry import PROCESSORS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_START = 1_795_304_410_482_000_000
_CHAIN = ("privacy", "metadata", "genai", "cost")


def measure(deliveries: int, rounds: int) -> dict[str, list[float]]:
    """CPU microseconds a delivery in each round, by step."""
    bodies = [
        orjson.dumps(sample_delivery(generation_id(_START // 10**9, number.to_bytes(20)), _START))
        for number in range(deliveries)
    ]
    context = Context({"default": DestinationSettings()})
    processors = [(name, PROCESSORS[name].create(PROCESSORS[name].settings())) for name in _CHAIN]
    times: dict[str, list[float]] = {}

    def timed(step: str, function: Callable[..., Any], *arguments: Any) -> Any:
        started = time.thread_time_ns()
        result = function(*arguments)
        times.setdefault(step, []).append((time.thread_time_ns() - started) / 1e3 / deliveries)
        return result

    for _ in range(rounds):
        builder = SpanBatchBuilder()
        timed(
            "decode JSON", lambda builder=builder: [decode_json(b, Request("default", _START), builder) for b in bodies]
        )
        batch = timed("build columns", builder.build)
        for name, process in processors:
            batch = timed(name, process, batch, context)
        rows = timed("encode rows", encode, batch)
        timed("serialize", rows.serialize)
    return times


def main() -> None:
    """Measure and print."""
    for deliveries, rounds in ((1, 1000), (100, 30)):
        measure(deliveries, max(3, rounds // 10))
        times = measure(deliveries, rounds)
        print(f"\n{deliveries} delivery in a batch" if deliveries == 1 else f"\n{deliveries} deliveries in a batch")
        for step, each in times.items():
            print(f"  {step:<15}{statistics.median(each):>9.1f} µs   best {min(each):>8.1f} µs")
        chain = [sum(step) for step in zip(*(times[s] for s in (*_CHAIN, "encode rows", "serialize")), strict=True)]
        print(f"  {'chain + encoding':<15}{statistics.median(chain):>8.1f} µs   best {min(chain):>8.1f} µs")


if __name__ == "__main__":
    main()
