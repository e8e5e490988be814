"""OTLP/HTTP: what becomes of a request, told as OTLP says, and counted."""

from __future__ import annotations

import asyncio
import errno
import http.client
import json
import os
from typing import TYPE_CHECKING

import pytest
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from gateway.receivers.otlp_http import JSON, PROTOBUF, destination_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.gateway.receivers.conftest import Receivers


def request(*names: str, trace_id: bytes = b"t" * 16) -> bytes:
    """A protobuf request with spans of these names."""
    message = ExportTraceServiceRequest()
    spans = message.resource_spans.add().scope_spans.add().spans
    for number, name in enumerate(names, 1):
        spans.add(name=name, trace_id=trace_id, span_id=number.to_bytes(8, "big"), start_time_unix_nano=1)
    return message.SerializeToString()


def status_of(headers: Mapping[str, str], body: bytes) -> Status:
    """The Status in a protobuf answer."""
    assert headers["Content-Type"] == PROTOBUF
    return Status.FromString(body)


@pytest.mark.parametrize(
    ("path", "destination"),
    [
        ("/", ""),
        ("", ""),
        ("//", ""),
        ("/v1/traces", ""),
        ("/v1/traces/", ""),
        ("//v1/traces", ""),
        ("/team-a", "team-a"),
        ("/team-a/", "team-a"),
        ("/team-a/v1/traces", "team-a"),
        ("/team-a/v1/traces//", "team-a"),
        ("/v1", None),
        ("/v1/", None),
        ("/v1/logs", None),
        ("/team-a/v1/logs", None),
        ("/a/b/v1/traces", None),
        ("/v1/traces/v1/traces", None),
    ],
)
def test_a_path_names_a_destination_or_none_or_is_unknown(path: str, destination: str | None) -> None:
    """The base path and /v1/traces are one, alone or under a destination's name; nothing else takes traces."""
    assert destination_of(path) == destination


@pytest.mark.parametrize(("content_type", "body"), [(JSON, b"{}"), (PROTOBUF, b"")])
async def test_success_is_an_empty_response_in_the_request_s_encoding(
    receivers: Receivers, content_type: str, body: bytes
) -> None:
    """A request without spans succeeds with an empty response, and is counted as accepted."""
    status, headers, answer = await receivers.post(body, {"Content-Type": content_type})
    assert (status, headers["Content-Type"], answer) == (200, content_type, body)
    assert receivers.requests("http", "accepted") == 1


async def test_a_partial_success_has_the_count_and_the_reason(receivers: Receivers) -> None:
    """Spans that are refused are counted in the response with a reason; HTTP says 200, so that none is sent again."""
    status, _, body = await receivers.post(request("a", "b", trace_id=b"\0" * 16), {"Content-Type": PROTOBUF})
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert (status, partial.rejected_spans) == (200, 2)
    assert "trace id" in partial.error_message


async def test_a_defect_fails_one_request_and_not_the_next(receivers: Receivers) -> None:
    """A request that a processor cannot handle gets 500, which senders do not repeat; the next one is taken."""
    headers = {"Content-Type": PROTOBUF}
    status, answered, body = await receivers.post(request("poison"), headers)
    assert status == 500
    assert status_of(answered, body).code == Code.INTERNAL
    assert "ZeroDivision" not in status_of(answered, body).message
    assert (await receivers.post(request("good"), headers))[0] == 200
    assert receivers.requests("http", "internal") == 1


async def test_a_spool_that_cannot_be_written_is_told_with_retry_after(
    receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If spans cannot be made durable the sender gets 503 with Retry-After, and succeeds when it tries again."""

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        status, headers, body = await receivers.post(request("a"), {"Content-Type": PROTOBUF})
    assert (status, int(headers["Retry-After"]) > 0) == (503, True)
    assert status_of(headers, body).code == Code.UNAVAILABLE
    assert receivers.requests("http", "refused") == 1
    assert (await receivers.post(request("a"), {"Content-Type": PROTOBUF}))[0] == 200


async def test_while_it_stops_senders_are_told_to_come_back(receivers: Receivers) -> None:
    """A request that comes while the gateway stops gets 503 with Retry-After."""
    await receivers.pipeline.drain()
    status, headers, body = await receivers.post(b"{}", {"Content-Type": JSON})
    assert (status, headers["Retry-After"]) == (503, "1")
    assert json.loads(body)["code"] == Code.UNAVAILABLE


@pytest.mark.parametrize("content_type", ["", "application/xml"])
async def test_without_a_usable_content_type_the_answer_is_json(receivers: Receivers, content_type: str) -> None:
    """An error that has no encoding to follow is JSON."""
    headers = {"Content-Type": content_type} if content_type else {}
    status, answered, body = await receivers.post(b"{}", headers)
    assert (status, answered["Content-Type"]) == (415, JSON)
    assert json.loads(body)["message"] == f"The Content-Type must be {JSON} or {PROTOBUF}."


async def test_one_connection_serves_many_requests(receivers: Receivers) -> None:
    """A connection stays open after success and after an error whose body was read."""

    def post_all() -> tuple[list[int], set[object]]:
        connection = http.client.HTTPConnection("127.0.0.1", int(receivers.url.rpartition(":")[2]), timeout=10)
        statuses, sockets = [], set()
        for body in (b"{}", b"garbage", b"{}"):
            connection.request("POST", "/", body, {"Content-Type": JSON, "x-api-key": "tg_key"})
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
            sockets.add(connection.sock)
        connection.close()
        return statuses, sockets

    statuses, sockets = await asyncio.to_thread(post_all)
    assert statuses == [200, 400, 200]
    assert len(sockets) == 1
