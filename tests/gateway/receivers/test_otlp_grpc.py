"""OTLP/gRPC: the same answers as over HTTP, as gRPC statuses with details."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from tests.gateway.receivers.conftest import Receivers


def request(*names: str, trace_id: bytes = b"t" * 16) -> ExportTraceServiceRequest:
    """A request with spans of these names."""
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for number, name in enumerate(names, 1):
        spans.add(name=name, trace_id=trace_id, span_id=number.to_bytes(8, "big"), start_time_unix_nano=1)
    return message


async def refused(receivers: Receivers, message: ExportTraceServiceRequest) -> tuple[grpc.StatusCode, Status]:
    """The gRPC code and the Status with which a request fails."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await receivers.export(message)
    details = dict(raised.value.trailing_metadata() or ())["grpc-status-details-bin"]
    return raised.value.code(), Status.FromString(details)


async def test_success_has_no_partial_success(receivers: Receivers) -> None:
    """A request whose spans are all taken gets an empty response, and is counted as accepted."""
    answer = await receivers.export(request("a", "b"))
    assert answer.ByteSize() == 0
    assert receivers.requests("grpc", "accepted") == 1


async def test_a_partial_success_has_the_count_and_the_reason(receivers: Receivers) -> None:
    """Spans that are refused are counted in the response with a reason."""
    partial = (await receivers.export(request("a", trace_id=b"short"))).partial_success
    assert partial.rejected_spans == 1
    assert "trace id" in partial.error_message


async def test_a_defect_fails_one_request_and_not_the_next(receivers: Receivers) -> None:
    """A request that a processor cannot handle gets INTERNAL, which senders do not repeat; the next one is taken."""
    code, status = await refused(receivers, request("poison"))
    assert (code, status.code) == (grpc.StatusCode.INTERNAL, Code.INTERNAL)
    assert (await receivers.export(request("good"))).ByteSize() == 0


async def test_a_spool_that_cannot_be_written_is_unavailable_with_a_delay(
    receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If spans cannot be made durable the sender gets UNAVAILABLE with RetryInfo, and succeeds when it tries again."""

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        code, status = await refused(receivers, request("a"))
    assert code is grpc.StatusCode.UNAVAILABLE
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.seconds > 0
    assert (await receivers.export(request("a"))).ByteSize() == 0


async def test_while_it_stops_senders_are_told_to_come_back(receivers: Receivers) -> None:
    """A request that comes while the gateway stops gets UNAVAILABLE."""
    await receivers.pipeline.drain()
    code, _ = await refused(receivers, request("a"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert receivers.requests("grpc", "refused") == 1


async def test_there_is_no_other_method(receivers: Receivers) -> None:
    """Logs and metrics are UNIMPLEMENTED, which senders do not repeat."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{receivers.port}") as channel:
        logs = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await logs(b"", timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
