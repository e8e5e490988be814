"""The operations port: what probes, Prometheus and operators are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from config import Endpoint
from gateway.operations import Operations
from gateway.ports import bind_all
from gateway.telemetry.merge import expose, plain
from gateway.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Port:
    """An operations port that runs, with what it tells of."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {"ready": False, "pid": 7, "clickhouse": {"url": "http://127.0.0.1:8123"}}
        self.metrics = Metrics()
        self.operations = Operations(self.page, lambda: self.status)
        self.url = ""

    async def page(self) -> bytes:
        """The page of the metrics."""
        return expose(plain(self.metrics.registry))

    async def start(self) -> None:
        """Listen on a free port."""
        listener = bind_all({"": Endpoint("127.0.0.1", 0)})[""]
        self.url = "http://{}:{}".format(*listener.getsockname())
        await self.operations.start(listener)

    async def ask(self, path: str, method: str = "GET") -> tuple[int, str, str]:
        """Status, content type and text of an answer."""
        async with aiohttp.ClientSession() as session, session.request(method, self.url + path) as response:
            return response.status, response.headers.get("Content-Type", ""), await response.text()


@pytest_asyncio.fixture
async def port() -> AsyncIterator[Port]:
    """The port under test."""
    port = Port()
    await port.start()
    yield port
    await port.operations.stop()


async def test_a_process_that_answers_is_healthy(port: Port) -> None:
    """/healthz says that the process lives, ready or not."""
    assert await port.ask("/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
    port.status["ready"] = True
    assert (await port.ask("/healthz"))[0] == 200


async def test_readiness_is_the_status_s(port: Port) -> None:
    """/readyz is 503 while the gateway starts or stops, and 200 between, so that a balancer sends nothing too early."""
    sentence = "not ready: Tollgate is starting or stopping\n"
    assert await port.ask("/readyz") == (503, "text/plain; charset=utf-8", sentence)
    port.status["ready"] = True
    assert await port.ask("/readyz") == (200, "text/plain; charset=utf-8", "ready\n")
    port.status["ready"] = False
    assert (await port.ask("/readyz"))[0] == 503


async def test_metrics_are_what_prometheus_reads(port: Port) -> None:
    """/metrics is the text format, of this moment."""
    port.metrics.accepted.labels("default").inc(3)
    status, kind, text = await port.ask("/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["tollgate_accepted_spans_total", "default"] == 3


async def test_the_status_is_json_for_people(port: Port) -> None:
    """/status is the given status as indented JSON."""
    async with aiohttp.ClientSession() as session, session.get(f"{port.url}/status") as response:
        assert response.content_type == "application/json"
        assert await response.json() == port.status
        assert b'\n  "ready": false' in await response.read()


async def test_anything_else_is_not_there(port: Port) -> None:
    """Other paths are 404 and other methods 405; HEAD is answered as probes want it."""
    assert (await port.ask("/"))[0] == 404
    assert (await port.ask("/metrics", "POST"))[0] == 405
    assert (await port.ask("/healthz", "HEAD"))[0] == 200


async def test_it_stops(port: Port, caplog: pytest.LogCaptureFixture) -> None:
    """After a stop nothing answers; stopping again, or before a start, does nothing."""
    await port.operations.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await port.ask("/healthz")
    await port.operations.stop()
    await Port().operations.stop()
    assert caplog.records == []
