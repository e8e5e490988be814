"""What senders are told when a request cannot be taken: OTLP's own statuses, bodies and headers, over real sockets."""

from __future__ import annotations

import gzip
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from tests.end_to_end.harness import JSON, PROTOBUF, Answer, Gateway, ask, request, span, to_protobuf, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = 1_795_304_500_000_000_000
NOTHING = b"{}"
OTHER = """
receivers:
  otlp:
    protocols:
      http: {max_request_body_size: 1MiB}
      grpc: {max_request_body_size: 1MiB}
destinations:
  other: {api_keys: [tg_key_of_the_other]}
"""


def status_of(answer: Answer) -> Status:
    """The google.rpc.Status in a response, read as its Content-Type says."""
    if answer.headers["Content-Type"].startswith(JSON):
        return Status(**json.loads(answer.body))
    assert answer.headers["Content-Type"] == PROTOBUF
    return Status.FromString(answer.body)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Gateway]:
    """A gateway with two destinations that takes 1 MiB at most; ClickHouse is away."""
    config = f"{OTHER}exporters: {{clickhouse: {{embedded: null, endpoint: http://127.0.0.1:{free_port()}}}}}"
    gateway = Gateway(tmp_path_factory.mktemp("strict"), free_port, config=config)
    try:
        yield gateway.start()
    finally:
        gateway.stop()


@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"x-api-key": "wrong"}, {"x-api-key": ""}])
def test_without_a_valid_key_the_answer_is_401(gateway: Gateway, content_type: str, headers: dict[str, str]) -> None:
    """A missing or wrong key gets 401 with a Status in the request's encoding that says what to do."""
    answer = ask(f"{gateway.url}/v1/traces", NOTHING, {"Content-Type": content_type, **headers})
    assert answer.status == 401
    status = status_of(answer)
    assert status.code == Code.UNAUTHENTICATED
    assert "key" in status.message


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_the_key_may_come_in_either_header(gateway: Gateway, header: str) -> None:
    """`Authorization: Bearer` and `x-api-key` both carry the key."""
    value = f"bearer {gateway.key}" if header == "Authorization" else gateway.key
    assert ask(f"{gateway.url}/v1/traces", NOTHING, {"Content-Type": JSON, header: value}).status == 200


@pytest.mark.parametrize("extra", [{}, {"Expect": "100-continue"}])
def test_the_key_is_checked_before_the_body_is_read(gateway: Gateway, extra: dict[str, str]) -> None:
    """A request with a wrong key is refused while its body is still on the way."""
    connection = gateway.connection()
    connection.putrequest("POST", "/v1/traces")
    for name, value in {"Content-Type": JSON, "Content-Length": "50000000", "x-api-key": "wrong", **extra}.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 401
    assert json.loads(response.read())["code"] == Code.UNAUTHENTICATED
    connection.close()


def test_a_sender_that_waits_for_100_continue_gets_it(gateway: Gateway) -> None:
    """`Expect: 100-continue`, which curl sends before large bodies, is answered as soon as the key is known."""
    connection = gateway.connection()
    connection.putrequest("POST", "/v1/traces")
    headers = {"Content-Type": JSON, "Content-Length": "2", "Expect": "100-continue", "x-api-key": gateway.key}
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.sock is not None
    connection.sock.settimeout(5)
    assert connection.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(NOTHING)
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"{}")
    connection.close()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [(JSON, b"{"), (JSON, b"[]"), (JSON, b'{"resourceSpans": 5}'), (JSON, b"\xff\xfe"), (PROTOBUF, b"\xff\xff\xff")],
)
def test_garbage_gets_400(gateway: Gateway, content_type: str, body: bytes) -> None:
    """A body that is not OTLP gets 400 with a Status in its own encoding."""
    answer = gateway.post(body, content_type)
    assert answer.status == 400
    assert answer.headers["Content-Type"] == content_type
    assert status_of(answer).code == Code.INVALID_ARGUMENT


def test_garbage_costs_the_neighbours_nothing(gateway: Gateway) -> None:
    """Of requests sent at once, those with garbage fail and every other one is stored, and nothing else."""
    trace_id = "5" * 32
    good = [json.dumps(request(span(trace_id, f"{number:016x}", START))).encode() for number in range(1, 21)]
    bad = [body[: len(body) // 2] for body in good]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(gateway.post, [body for pair in zip(good, bad, strict=True) for body in pair]))
    assert [answer.status for answer in answers] == [200, 400] * 20
    until(gateway.is_drained)
    assert gateway.count("spans", "TraceId = {id:String}", id=trace_id) == 20


def test_spans_without_usable_ids_are_rejected_one_by_one(gateway: Gateway) -> None:
    """A request with one bad span is a partial success: the count and the reason come back, the others are stored."""
    trace_id = "6" * 32
    document = request(span(trace_id, "1" * 16, START), span("", "2" * 16, START), span(trace_id, "3" * 16, START))
    answer = gateway.post(json.dumps(document).encode())
    assert answer.status == 200
    partial = json.loads(answer.body)["partialSuccess"]
    assert partial["rejectedSpans"] == "1"
    assert "trace id" in partial["errorMessage"]
    until(lambda: gateway.count("spans", "TraceId = {id:String}", id=trace_id) == 2)


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs", "/other/path/v1/traces", "/v1"])
def test_an_unknown_path_gets_404(gateway: Gateway, path: str) -> None:
    """Where no traces are taken, the answer is 404 with a Status that says where they are."""
    answer = gateway.post(NOTHING, path=path)
    assert answer.status == 404
    assert "/v1/traces" in status_of(answer).message


def test_another_method_gets_405(gateway: Gateway) -> None:
    """Anything but POST gets 405, the methods allowed, and a Status."""
    answer = ask(f"{gateway.url}/v1/traces")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert "POST" in status_of(answer).message


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_gets_415(gateway: Gateway, content_type: str) -> None:
    """A Content-Type that is not OTLP's gets 415 and a Status that names the two."""
    answer = gateway.post(NOTHING, content_type)
    assert answer.status == 415
    assert PROTOBUF in status_of(answer).message


@pytest.mark.parametrize(
    "path", ["", "/", "/v1/traces", "/v1/traces/", "/default", "/default/", "/default/v1/traces", "/default/v1/traces/"]
)
def test_every_form_of_the_base_url_takes_traces(gateway: Gateway, path: str) -> None:
    """Traces are taken at the base path and at /v1/traces, with the destination's name or without, and with a slash."""
    answer = gateway.post(NOTHING, f"{JSON}; charset=utf-8", path)
    assert (answer.status, answer.body) == (200, b"{}")


def test_a_gzip_body_is_understood(gateway: Gateway) -> None:
    """A gzip body is stored, also when it is several gzip members one after the other."""
    trace_id = "7" * 32
    body = json.dumps(request(span(trace_id, "1" * 16, START))).encode()
    members = gzip.compress(body[:50]) + gzip.compress(body[50:])
    assert gateway.post(members, content_encoding="gzip").status == 200
    assert gateway.post(to_protobuf(json.loads(body)).SerializeToString(), PROTOBUF, key=gateway.key).status == 200
    until(lambda: gateway.count("spans", "TraceId = {id:String}", id=trace_id) == 1)


@pytest.mark.parametrize(
    ("body", "encoding"), [(gzip.compress(NOTHING)[:-5], "gzip"), (NOTHING, "gzip"), (zlib.compress(NOTHING), "br")]
)
def test_a_broken_or_unknown_compression_gets_400(gateway: Gateway, body: bytes, encoding: str) -> None:
    """A truncated gzip body, one that is not gzip, and an unknown encoding get 400 with a Status."""
    answer = gateway.post(body, content_encoding=encoding)
    assert answer.status == 400
    assert status_of(answer).code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_a_gzip_bomb_gets_413(gateway: Gateway, content_type: str) -> None:
    """A small body that would inflate over the limit gets 413 with a Status that names the setting."""
    bomb = gzip.compress(bytes(80 << 20), 1)
    answer = gateway.post(bomb, content_type, content_encoding="gzip")
    assert answer.status == 413
    assert "max_request_body_size" in status_of(answer).message


def test_a_body_over_the_limit_gets_413_unread(strict: Gateway) -> None:
    """A Content-Length over the limit is refused at once; a body without one as soon as it is too long."""
    connection = strict.connection()
    connection.putrequest("POST", "/")
    for name, value in {"Content-Type": JSON, "Content-Length": "2000000", "x-api-key": strict.key}.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    connection = strict.connection()
    headers = {"Content-Type": JSON, "x-api-key": strict.key}
    connection.request("POST", "/", iter([bytes(1 << 20), bytes(1 << 20)]), headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_key_opens_its_own_destination_only(strict: Gateway) -> None:
    """The name of another destination in the path gets 403; the one's own is taken."""
    answer = strict.post(NOTHING, path="/other/v1/traces")
    assert answer.status == 403
    assert status_of(answer).code == Code.PERMISSION_DENIED
    assert strict.post(NOTHING, path="/other/v1/traces", key="tg_key_of_the_other").status == 200


def export(gateway: Gateway, sent: ExportTraceServiceRequest, key: str, **options: object) -> grpc.RpcError:
    """Export over gRPC what must be refused; returns the error."""
    with grpc.insecure_channel(gateway.grpc) as channel, pytest.raises(grpc.RpcError) as raised:
        TraceServiceStub(channel).Export(sent, metadata=[("x-api-key", key)] if key else [], timeout=10, **options)
    return raised.value


@pytest.mark.parametrize("key", ["", "wrong"])
def test_grpc_without_a_valid_key_is_unauthenticated(gateway: Gateway, key: str) -> None:
    """Over gRPC a missing or wrong key gets UNAUTHENTICATED, with the Status in the trailers."""
    error = export(gateway, ExportTraceServiceRequest(), key)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    trailers = dict(error.trailing_metadata())
    assert Status.FromString(trailers["grpc-status-details-bin"]).code == Code.UNAUTHENTICATED


def test_grpc_garbage_is_an_invalid_argument(gateway: Gateway) -> None:
    """Over gRPC a message that is not OTLP gets INVALID_ARGUMENT."""
    with grpc.insecure_channel(gateway.grpc) as channel:
        method = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        with pytest.raises(grpc.RpcError) as raised:
            method(b"\xff\xff\xff", metadata=[("x-api-key", gateway.key)], timeout=10)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_grpc_over_the_limit_is_resource_exhausted(strict: Gateway, compression: grpc.Compression) -> None:
    """Over gRPC a message over the limit, also one that was compressed below it, is RESOURCE_EXHAUSTED."""
    large = ExportTraceServiceRequest()
    large.resource_spans.add().schema_url = "x" * (2 << 20)
    error = export(strict, large, strict.key, compression=compression)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.RetryInfo" not in str(error.trailing_metadata())
