"""Fixtures of the receivers' tests: both receivers on real sockets, before one pipeline."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from config import DestinationSettings, Endpoint
from exporters.clickhouse.rows import encode, layout
from gateway.admission import Admission
from gateway.authentication import Authenticator
from gateway.ledger import Ledger
from gateway.pipeline import Pipeline, PipelineLimits
from gateway.receivers.otlp_grpc import OtlpGrpcReceiver
from gateway.receivers.otlp_http import OtlpHttpReceiver
from gateway.spool.room import Room
from gateway.spool.spool import Spool, SpoolLimits
from gateway.telemetry.metrics import Metrics
from processors.base import Context
from state import hash_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )

    from otlp.batch import SpanBatch

KEY = "tg_key"
MIB = 1 << 20
SECONDS = 10


def defective(batch: SpanBatch, _: Context) -> SpanBatch:
    """A processor that raises where a span is named `poison`."""
    if "poison" in batch.spans.name.tolist():
        raise ZeroDivisionError
    return batch


class Receivers:
    """OTLP/HTTP and OTLP/gRPC on free ports, and clients of both."""

    def __init__(self, directory: Path) -> None:
        limits = SpoolLimits(MIB, 600)
        self.spool = Spool(directory, layout().packed, limits, clock=lambda: 1, random_hex=iter("abcdefgh").__next__)
        self.metrics = Metrics()
        room = Room(1 << 40, 0, free_disk=lambda: 1 << 40)
        room.look(0)
        self.pipeline = Pipeline(
            [defective],
            encode,
            self.spool,
            Context({"default": DestinationSettings()}),
            limits=PipelineLimits(MIB, MIB, 0),
            admission=Admission(capacity=MIB, memory_limit=1 << 40, room=room, metrics=self.metrics),
            room=room,
            ledger=Ledger(directory, self.metrics.count),
            metrics=self.metrics,
        )
        authenticator = Authenticator({hash_key(KEY): "default"})
        self._http = OtlpHttpReceiver(authenticator, self.pipeline, self.metrics, max_request_body_size=MIB, grace=1)
        self._grpc = OtlpGrpcReceiver(authenticator, self.pipeline, self.metrics, max_request_body_size=MIB, grace=1)

    async def start(self) -> None:
        """Listen."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await self._http.start(listener)
        self.port = await self._grpc.start(Endpoint("127.0.0.1", 0))
        self.pipeline.start()

    async def stop(self) -> None:
        """Stop listening and let go of everything."""
        await self._http.stop()
        await self._grpc.stop()
        await self.pipeline.drain()
        self.pipeline.close()
        self.spool.close()

    async def post(
        self, body: bytes, headers: Mapping[str, str], path: str = "/"
    ) -> tuple[int, Mapping[str, str], bytes]:
        """The answer to a POST over HTTP."""
        timeout = aiohttp.ClientTimeout(SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{self.url}{path}", data=body, headers={"x-api-key": KEY, **headers}) as answer,
        ):
            return answer.status, answer.headers, await answer.read()

    async def export(self, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
        """The answer over gRPC."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            call: Any = TraceServiceStub(channel).Export(request, metadata=[("x-api-key", KEY)], timeout=SECONDS)
            answer: ExportTraceServiceResponse = await call
            return answer

    def requests(self, transport: str, outcome: str) -> float:
        """How many requests had this outcome."""
        labels = {"transport": transport, "outcome": outcome}
        return self.metrics.registry.get_sample_value("tollgate_receiver_requests_total", labels) or 0.0


@pytest.fixture
async def receivers(tmp_path: Path) -> AsyncIterator[Receivers]:
    """Both receivers, started."""
    made = Receivers(tmp_path / "spool")
    await made.start()
    yield made
    await made.stop()
