"""OTLP over HTTP: POST of an ExportTraceServiceRequest as JSON or protobuf.

Senders post to what their users typed, so the base path and /v1/traces are the same, with or without a slash at the end
and with or without the destination's name before them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import structlog
from aiohttp import web
from google.rpc.code_pb2 import Code
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from gateway.receivers.body import decompress, read_body, require_size
from gateway.receivers.receiver import OtlpReceiver
from gateway.receivers.status import Refusal, WrongDestinationError, refusal
from otlp.decode_json import decode_json
from otlp.decode_protobuf import decode_protobuf

if TYPE_CHECKING:
    import socket

    from gateway.pipeline import Accepted

log = structlog.get_logger()

JSON, PROTOBUF = "application/json", "application/x-protobuf"
_DECODERS = {JSON: decode_json, PROTOBUF: decode_protobuf}
_TRACES = "/v1/traces"
_TRANSPORT = "http"
_SMALL = 4096
_AT_FIRST = 1 << 20
_SERVER = {"Server": "tollgate"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class OtlpHttpReceiver(OtlpReceiver):
    """Serves OTLP/HTTP on a socket that is already bound."""

    _runner: web.ServerRunner | None = None

    async def start(self, listener: socket.socket) -> None:
        """Begin to accept requests."""
        server = web.Server(self.handle, auto_decompress=False, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=self._grace)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Stop accepting, and let running requests finish for a moment."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request; every answer is OTLP's, whatever was asked."""
        content_type = request.content_type if "Content-Type" in request.headers else ""
        answer_type = PROTOBUF if content_type == PROTOBUF else JSON
        refused = _refused_unread(request, content_type)
        if refused is None:
            try:
                accepted = await self._export(request, content_type)
            except ConnectionError:
                raise
            except Exception as error:  # noqa: BLE001 - the table turns everything into what a sender understands
                refused = refusal(error)
                if refused.outcome == "refused":
                    log.warning("an export request is refused for now", error=str(error) or type(error).__name__)
            else:
                self._metrics.requests.labels(_TRANSPORT, "accepted").inc()
                return web.Response(body=_success(accepted, answer_type), content_type=answer_type, headers=_SERVER)
        self._metrics.requests.labels(_TRANSPORT, refused.outcome).inc()
        headers = dict(_SERVER)
        if refused.retry_after is not None:
            headers["Retry-After"] = str(refused.retry_after)
        if refused.http == 405:
            headers["Allow"] = "POST"
        if not request.content.at_eof():
            # The body was not read: closing is cheaper than swallowing it.
            headers["Connection"] = "close"
        body = refused.body(json=answer_type == JSON)
        return web.Response(status=refused.http, headers=headers, body=body, content_type=answer_type)

    async def _export(self, request: web.BaseRequest, content_type: str) -> Accepted:
        headers = request.headers
        destination = self._authenticator.authenticate(headers.get("Authorization"), headers.get("x-api-key"))
        named = destination_of(request.path)
        if named and named != destination:
            raise WrongDestinationError(
                f"The path names destination {named!r}, but the API key belongs to another one; "
                "use that destination's key, or leave the name out of the URL."
            )
        require_size(request.content_length, self._limit)
        # What is announced counts only as far as it comes: who announces much and sends nothing keeps nobody out.
        with self._pipeline.admit(min(request.content_length or 0, _AT_FIRST)) as ticket:
            if headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(_CONTINUE)
            body = await read_body(request.content, self._limit, ticket)
            encoding = headers.get("Content-Encoding", "")
            if encoding and len(body) > _SMALL:
                # A thousandfold of this may come out; zlib works beside the event loop.
                body = await asyncio.to_thread(decompress, body, encoding, self._limit)
            else:
                body = decompress(body, encoding, self._limit)
            return await self._pipeline.submit(destination, body, _DECODERS[content_type], ticket)


def destination_of(path: str) -> str | None:
    """The destination that a path names ('' if it names none), or None if no traces are taken there."""
    base = path.rstrip("/").removesuffix(_TRACES).removeprefix("/")
    return None if "/" in base or base == "v1" else base


def _refused_unread(request: web.BaseRequest, content_type: str) -> Refusal | None:
    """Why a request is refused by its first line and headers alone, if it is."""
    if destination_of(request.path) is None:
        text = f"There is nothing at {request.path[:200]}: post traces to the base URL or to {_TRACES}."
        return Refusal(404, Code.NOT_FOUND, text, "not_found")
    if request.method != "POST":
        return Refusal(405, Code.UNIMPLEMENTED, f"Traces are sent with POST, not {request.method}.", "malformed")
    if content_type not in _DECODERS:
        text = f"The Content-Type must be {JSON} or {PROTOBUF}."
        return Refusal(415, Code.INVALID_ARGUMENT, text, "malformed")
    return None


def _success(accepted: Accepted, content_type: str) -> bytes:
    """An ExportTraceServiceResponse: empty if every span was taken."""
    if content_type == JSON:
        if not accepted.rejected:
            return b"{}"
        partial = {"rejectedSpans": str(accepted.rejected), "errorMessage": accepted.message}
        return orjson.dumps({"partialSuccess": partial})
    return response_message(accepted).SerializeToString()


def response_message(accepted: Accepted) -> ExportTraceServiceResponse:
    """The protobuf form of what became of a request."""
    response = ExportTraceServiceResponse()
    if accepted.rejected:
        response.partial_success.rejected_spans = accepted.rejected
        response.partial_success.error_message = accepted.message
    return response
