"""Senders of numbered spans that do not stop for errors, and keep account of what they were promised."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from tests.end_to_end.harness import request, span, to_protobuf, until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.end_to_end.harness import Gateway

START = 1_795_305_000_000_000_000
PER_REQUEST = 5
POISON = "poison"
_POISON_EVERY = 401
_PAUSE = 0.05
_CALL = [
    {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
    {"key": "gen_ai.request.model", "value": {"stringValue": "openai/gpt-5-mini"}},
    {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "17"}},
]


@dataclass(slots=True)
class Account:
    """How many spans were sent and requests refused; the ids of the spans that were acknowledged.

    Of these also which are calls, and which ClickHouse will refuse.
    """

    sent: int = 0
    refused: int = 0
    acknowledged: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    poison: set[str] = field(default_factory=set)


class Sender:
    """Sends over HTTP and gRPC until the end of the `with`; every span has the same trace id."""

    def __init__(self, gateway: Gateway, trace_id: str) -> None:
        self.account = Account()
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

    def flows(self, requests: int) -> None:
        """Wait until so many more requests are acknowledged."""
        target = len(self.account.acknowledged) + requests * PER_REQUEST
        until(lambda: len(self.account.acknowledged) >= target, 60)

    def is_refused(self) -> None:
        """Wait until another request is refused."""
        before = self.account.refused
        until(lambda: self.account.refused > before)

    def _next(self) -> tuple[dict[str, Any], list[int]]:
        with self._lock:
            numbers = list(itertools.islice(self._numbers, PER_REQUEST))
            self.account.sent += PER_REQUEST
        return request(*(self._span(number) for number in numbers)), numbers

    def _span(self, number: int) -> dict[str, Any]:
        name = POISON if _is_poison(number) else "work"
        attributes = {"attributes": _CALL} if _is_call(number) else {}
        return span(self._trace_id, f"{number:016x}", START + number, **attributes, name=name)

    def _acknowledge(self, numbers: Iterable[int]) -> None:
        with self._lock:
            for number in numbers:
                one = f"{number:016x}"
                self.account.acknowledged.add(one)
                if _is_poison(number):
                    self.account.poison.add(one)
                elif _is_call(number):
                    self.account.calls.add(one)

    def _over_http(self) -> None:
        while not self._ended.is_set():
            document, numbers = self._next()
            try:
                answer = self._gateway.post(json.dumps(document).encode())
            except OSError:
                self._ended.wait(_PAUSE)
                continue
            if answer.status == 200:
                self._acknowledge(numbers)
            else:
                self.account.refused += 1
                self._ended.wait(_PAUSE)

    def _over_grpc(self) -> None:
        options = [("grpc.max_reconnect_backoff_ms", 100), ("grpc.initial_reconnect_backoff_ms", 50)]
        with grpc.insecure_channel(self._gateway.grpc, options) as channel:
            export = TraceServiceStub(channel).Export
            while not self._ended.is_set():
                document, numbers = self._next()
                try:
                    export(to_protobuf(document), metadata=[("x-api-key", self._gateway.key)], timeout=5)
                    self._acknowledge(numbers)
                except grpc.RpcError:
                    self._ended.wait(_PAUSE)


def _is_poison(number: int) -> bool:
    return number % _POISON_EVERY == 0


def _is_call(number: int) -> bool:
    return number % PER_REQUEST == 0
