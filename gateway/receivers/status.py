"""What senders are told when a request fails: the one table from our errors to HTTP and gRPC.

Senders try again only after 429, 502, 503 and 504, and after gRPC's UNAVAILABLE (OTLP specification, "Failures"). So a
passing fault must never come out as anything else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import orjson
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from gateway.authentication import UnauthenticatedError
from otlp.errors import PermanentError, RetryableError


class TooLargeError(Exception):
    """The request is over the size limit; the message names the limit."""


class WrongDestinationError(Exception):
    """The request's path names a destination that its key does not belong to."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP status and a gRPC code with a message; `outcome` names it in metrics."""

    http: int
    grpc: int
    message: str
    outcome: str
    retry_after: int | None = None

    def body(self, *, json: bool) -> bytes:
        """A google.rpc.Status in the request's encoding."""
        if json:
            return orjson.dumps({"code": self.grpc, "message": self.message})
        return bytes(Status(code=self.grpc, message=self.message).SerializeToString())


def refusal(error: Exception) -> Refusal:
    """What to tell the sender about an error. One that is in no family is ours, and the data may be sent again."""
    message = str(error)
    match error:
        case UnauthenticatedError():
            return Refusal(401, Code.UNAUTHENTICATED, message, "unauthenticated")
        case WrongDestinationError():
            return Refusal(403, Code.PERMISSION_DENIED, message, "forbidden")
        case TooLargeError():
            return Refusal(413, Code.RESOURCE_EXHAUSTED, message, "too_large")
        case PermanentError(reason="internal"):
            return Refusal(500, Code.INTERNAL, message, "internal")
        case PermanentError():
            return Refusal(400, Code.INVALID_ARGUMENT, message, "malformed")
        case RetryableError():
            return Refusal(503, Code.UNAVAILABLE, message, "refused", retry_after=max(1, math.ceil(error.delay)))
        case _:
            return Refusal(503, Code.UNAVAILABLE, "Tollgate has an internal fault; try again.", "refused", 1)
