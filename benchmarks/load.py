"""Load from processes of their own: bodies of generated traffic over kept connections, at a rate or without a pause."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import uvloop

from benchmarks.generator import Form, Traffic, bodies, spans_per_body

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ResultT = TypeVar("ResultT")

_PATIENCE = 60.0  # seconds that an answer may take


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent where: bodies of one form, `rate` of them a second or (None) one after the other."""

    address: str
    key: str
    traffic: Traffic
    form: Form
    rate: float | None
    seconds: float
    connections: int = 32


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a load. Latencies in seconds, in order of size; `size` is the mean of the bodies, in bytes."""

    acknowledged: int
    refused: int
    spans: int
    seconds: float
    size: float
    latencies: list[float]

    def latency(self, percent: float) -> float:
        """What so many percent of the answers were faster than."""
        return self.latencies[min(int(len(self.latencies) * percent / 100), len(self.latencies) - 1)]


class Background(Generic[ResultT]):
    """A function that runs in a process of its own."""

    def __init__(self, function: Callable[..., ResultT], *arguments: Any) -> None:
        self._receiver, sender = multiprocessing.Pipe(duplex=False)
        self._process = multiprocessing.Process(target=_call, args=(sender, function, arguments), daemon=True)
        self._process.start()
        sender.close()

    @property
    def is_running(self) -> bool:
        """Whether it has no result yet."""
        return self._process.is_alive() and not self._receiver.poll()

    def result(self) -> ResultT:
        """Wait for the result; RuntimeError if it failed."""
        try:
            result: ResultT = self._receiver.recv()
        except EOFError as error:
            raise RuntimeError("a load failed; what it says is above") from error
        self._process.join()
        return result


def _call(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sender.send(function(*arguments))


def send(load: Load) -> Sent:
    """Send a load, and wait for the last answer."""
    return uvloop.run(_send(load))


async def _send(load: Load) -> Sent:
    host, _, port = load.address.partition(":")
    head = f"POST /v1/traces HTTP/1.1\r\nHost: {load.address}\r\nAuthorization: Bearer {load.key}\r\nContent-Type: "
    head += "application/x-protobuf" if load.form == "protobuf" else "application/json"
    endless = bodies(load.traffic, load.form)
    ready = next(endless)  # the first one takes long: it is made before the clock starts
    latencies: list[float] = []
    refused = size = 0
    started = time.monotonic()
    numbers = iter(range(round(load.rate * load.seconds) if load.rate else 10**9))

    async def connection() -> None:
        nonlocal refused, size, ready
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in numbers:
            body, ready = ready, next(endless)
            begun = time.monotonic()
            if begun - started > (2 if load.rate else 1) * load.seconds:
                break
            if load.rate:
                # A delivery that is late because all connections are busy waits since it was due.
                due = started + number / load.rate
                await asyncio.sleep(max(0, due - begun))
                begun = time.monotonic() if due > begun else due
            writer.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            status = await asyncio.wait_for(_answer(reader), _PATIENCE)
            latencies.append(time.monotonic() - begun)
            refused += status != 200
            size += len(body)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(load.connections)))
    acknowledged = len(latencies) - refused
    return Sent(
        acknowledged=acknowledged,
        refused=refused,
        spans=acknowledged * spans_per_body(load.form),
        seconds=time.monotonic() - started,
        size=size / max(len(latencies), 1),
        latencies=sorted(latencies),
    )


async def _answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
    return int(head.split(b" ", 2)[1])
