"""Senders that do not stop for errors, and the check that what they were promised is kept."""

from __future__ import annotations

import itertools
import json
import threading
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from tests.end_to_end.harness import request, span, to_protobuf, until

if TYPE_CHECKING:
    from tests.end_to_end.harness import Gateway

START = 1_795_305_000_000_000_000
PER_REQUEST = 5
_PAUSE = 0.05


class Traffic:
    """Senders over HTTP and gRPC that do not stop for errors.

    `sent` counts spans, `acknowledged` holds the ids of those that were taken, `refused` what other requests were
    answered.
    """

    def __init__(self, gateway: Gateway, trace_id: str) -> None:
        self.sent = 0
        self.acknowledged: set[str] = set()
        self.refused: list[str] = []
        self._gateway = gateway
        self._trace_id = trace_id
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._over_http, self._over_grpc)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def flows(self, requests: int = 50) -> None:
        """Wait until this many more requests are acknowledged."""
        target = len(self.acknowledged) + requests * PER_REQUEST
        until(lambda: len(self.acknowledged) >= target, 60)

    def is_refused(self) -> None:
        """Wait until another request is refused."""
        before = len(self.refused)
        until(lambda: len(self.refused) > before)

    def make_span(self, number: int) -> dict[str, Any]:
        """The span of a number."""
        return span(self._trace_id, span_id(number), START + number)

    def _next(self) -> tuple[dict[str, Any], list[str]]:
        with self._lock:
            numbers = list(itertools.islice(self._numbers, PER_REQUEST))
            self.sent += PER_REQUEST
        return request(*map(self.make_span, numbers)), list(map(span_id, numbers))

    def _over_http(self) -> None:
        while not self._ended.is_set():
            document, ids = self._next()
            try:
                answer = self._gateway.post(json.dumps(document).encode())
            except OSError:
                self._ended.wait(_PAUSE)
                continue
            if answer.status == 200:
                self.acknowledged.update(ids)
            else:
                self.refused.append(f"{answer.status} {answer.body!r}")
                self._ended.wait(_PAUSE)

    def _over_grpc(self) -> None:
        options = [("grpc.max_reconnect_backoff_ms", 100), ("grpc.initial_reconnect_backoff_ms", 50)]
        with grpc.insecure_channel(self._gateway.grpc, options) as channel:
            export = TraceServiceStub(channel).Export
            while not self._ended.is_set():
                document, ids = self._next()
                try:
                    export(to_protobuf(document), metadata=[("x-api-key", self._gateway.key)], timeout=5)
                    self.acknowledged.update(ids)
                except grpc.RpcError as error:
                    self.refused.append(str(error))
                    self._ended.wait(_PAUSE)


def span_id(number: int) -> str:
    """The id of a span of this number."""
    return f"{number:016x}"


def assert_stored_once(gateway: Gateway, trace_id: str, acknowledged: set[str]) -> None:
    """Every acknowledged span is in `spans`, and none is there twice."""
    until(gateway.is_drained)
    rows = gateway.query("SELECT SpanId FROM spans WHERE TraceId = {id:String}", id=trace_id)
    stored = [row["SpanId"] for row in rows]
    assert len(stored) == len(set(stored))
    assert acknowledged - set(stored) == set()
    assert gateway.ledger_closes()
