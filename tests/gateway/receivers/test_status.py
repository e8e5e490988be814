"""The one table from errors to what senders are told: only what passes may be tried again."""

from __future__ import annotations

import orjson
import pytest
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from gateway.authentication import UnauthenticatedError
from gateway.receivers.status import Refusal, TooLargeError, WrongDestinationError, refusal
from otlp.errors import PermanentError, RetryableError

RETRYABLE_HTTP = {429, 502, 503, 504}  # OTLP specification, "Retryable Response Codes"


@pytest.mark.parametrize(
    ("error", "http", "grpc", "outcome"),
    [
        (UnauthenticatedError("why"), 401, Code.UNAUTHENTICATED, "unauthenticated"),
        (WrongDestinationError("why"), 403, Code.PERMISSION_DENIED, "forbidden"),
        (TooLargeError("why"), 413, Code.RESOURCE_EXHAUSTED, "too_large"),
        (PermanentError("why", reason="malformed"), 400, Code.INVALID_ARGUMENT, "malformed"),
        (PermanentError("why", reason="internal"), 500, Code.INTERNAL, "internal"),
    ],
)
def test_what_will_never_be_accepted_is_not_tried_again(error: Exception, http: int, grpc: int, outcome: str) -> None:
    """Each lasting fault has a status that no sender repeats, in HTTP and in gRPC, and its own words."""
    assert refusal(error) == Refusal(http, grpc, "why", outcome)
    assert http not in RETRYABLE_HTTP
    # RESOURCE_EXHAUSTED may be tried again only with RetryInfo, which is never sent.
    assert grpc not in {Code.UNAVAILABLE, Code.ABORTED, Code.OUT_OF_RANGE, Code.DEADLINE_EXCEEDED, Code.CANCELLED}


@pytest.mark.parametrize(("delay", "seconds"), [(0, 1), (0.2, 1), (1, 1), (1.01, 2), (30, 30)])
def test_what_passes_may_be_tried_again(delay: float, seconds: int) -> None:
    """A passing fault is 503 and UNAVAILABLE, with whole seconds to wait, never none."""
    expected = Refusal(503, Code.UNAVAILABLE, "why", "refused", seconds)
    assert refusal(RetryableError("why", delay=delay)) == expected


@pytest.mark.parametrize("error", [RuntimeError("s3cret"), OSError(28, "No space left"), MemoryError(), KeyError("x")])
def test_an_error_of_no_family_is_ours(error: Exception) -> None:
    """A defect of Tollgate costs no span: its sender tries again, and is told nothing of our inside."""
    expected = Refusal(503, Code.UNAVAILABLE, "Tollgate has an internal fault; try again.", "refused", 1)
    assert refusal(error) == expected


def test_the_body_is_a_status_in_the_request_s_encoding() -> None:
    """JSON senders get google.rpc.Status as JSON, protobuf senders as protobuf, with one content."""
    refused = refusal(PermanentError('not "OTLP": é', reason="malformed"))
    assert orjson.loads(refused.body(json=True)) == {"code": 3, "message": 'not "OTLP": é'}
    assert Status.FromString(refused.body(json=False)) == Status(code=3, message='not "OTLP": é')
