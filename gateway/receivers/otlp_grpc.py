"""OTLP over gRPC: TraceService/Export, on the same pipeline as OTLP/HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from gateway.receivers.otlp_http import response_message
from gateway.receivers.receiver import OtlpReceiver
from gateway.receivers.status import Refusal, refusal
from otlp.decode_protobuf import decode_protobuf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from config import Endpoint

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
_STATUS_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_TRANSPORT = "grpc"
_UNREAD = 1 << 17
"""What a call counts for until its message is there: gRPC does not tell its size before."""


class OtlpGrpcReceiver(OtlpReceiver):
    """Serves OTLP/gRPC."""

    _server: grpc.aio.Server | None = None

    async def start(self, endpoint: Endpoint) -> int:
        """Begin to accept requests; returns the port. RuntimeError if it cannot be bound."""
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._limit),
                # Workers share the port; that no other Tollgate does is what the supervisor sees to.
                ("grpc.so_reuseport", 1),
            ]
        )
        # Unary on the wire, but as a stream the request is not read before the key has been checked.
        handler = grpc.stream_unary_rpc_method_handler(self._export)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Export": handler}),))
        port = self._server.add_insecure_port(str(endpoint))
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Stop accepting, and let running requests finish for a moment."""
        if self._server is not None:
            await self._server.stop(self._grace)

    async def _export(self, messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        headers = dict(context.invocation_metadata() or ())
        try:
            destination = self._authenticator.authenticate(
                _text(headers.get("authorization")), _text(headers.get("x-api-key"))
            )
            with self._pipeline.admit(_UNREAD) as ticket:
                body = b""
                async for message in messages:
                    body = message
                accepted = await self._pipeline.submit(destination, body, decode_protobuf, ticket)
        except grpc.RpcError:
            raise
        except Exception as error:
            await self._refuse(context, refusal(error))
            raise
        self._metrics.requests.labels(_TRANSPORT, "accepted").inc()
        return response_message(accepted).SerializeToString()

    async def _refuse(self, context: grpc.aio.ServicerContext[Any, Any], refused: Refusal) -> None:
        self._metrics.requests.labels(_TRANSPORT, refused.outcome).inc()
        status = Status(code=refused.grpc, message=refused.message)
        if refused.retry_after is not None:
            status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=refused.retry_after)))
        details = ((_STATUS_DETAILS, status.SerializeToString()),)
        await context.abort(_CODES[refused.grpc], refused.message, details)


def _text(value: str | bytes | None) -> str | None:
    return value.decode("latin-1") if isinstance(value, bytes) else value
