"""SpanBatch: selecting and refusing spans keeps every table consistent."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import DestinationSettings
from gateway.sample import sample_delivery
from otlp.batch import Rejection, Request, SpanBatch
from processors import cost, genai, metadata
from processors.base import Context
from tests.otlp.messages import attributes, batch_of, document, good_requests, plain, refusals, rows_of, span
from tests.rows import encode

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

CONTEXT = Context({"a": DestinationSettings(), "b": DestinationSettings()})
SAMPLE = sample_delivery("gen-1795304410-Kd83mQvZrT5nYx2LpHa7", 1_795_304_410_482_000_000)


def _three() -> SpanBatch:
    """Two requests: the first of two spans, the second of one."""
    first = document(
        span(name="0", attributes=attributes({"k": 0}), events=[{"name": "e0"}, {"name": "e1"}]),
        span(name="1", attributes=attributes({"k": "1"}), links=[{"traceState": "l1"}]),
    )
    second = document(span(name="2", attributes=attributes({"k": 2.5}), events=[{"name": "e2"}]))
    return batch_of(first, second, requests=[Request("a", 1), Request("b", 2)])


def _rows(batch: SpanBatch) -> list[str]:
    """The encoded rows as text, in which NaN equals NaN."""
    return list(map(repr, rows_of(encode(batch))))


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(messages=st.lists(good_requests, min_size=1, max_size=2), spelling=st.integers(0))
def test_selected_rows_are_the_rows_selected(messages: list[ExportTraceServiceRequest], spelling: int) -> None:
    """Encoding a selection gives the same as selecting from what was encoded, whatever processors have added."""
    deliveries: list[Any] = [*messages, SAMPLE]
    batch = batch_of(*deliveries, requests=[Request("ab"[n % 2], n) for n in range(len(deliveries))])
    for step in (metadata.flatten, genai.canonicalize, cost.attribute):
        batch = step(batch, CONTEXT)
    random = Random(spelling)
    mask = np.array([random.random() < 0.5 for _ in range(len(batch))], np.bool_)
    expected = rows_of(encode(batch).filter(pa.array(mask)))
    assert _rows(batch.select(mask)) == list(map(repr, expected))
    assert _rows(batch.reject(~mask, "no")) == list(map(repr, expected))


def test_selecting_renumbers_owners() -> None:
    """Events, links and attributes follow their spans to their new rows; those of the others are gone."""
    data = plain(_three().select(np.array([False, True, True])))
    assert data["spans"]["name"] == ["1", "2"]
    assert data["spans"]["request"] == [0, 1]
    assert data["span_attributes"] == [(0, "k", "STRING", "1"), (1, "k", "DOUBLE", "2.5")]
    assert (data["events"]["span"], data["events"]["name"]) == ([1], ["e2"])
    assert (data["links"]["span"], data["links"]["trace_state"]) == ([0], ["l1"])


def test_selecting_everything_changes_nothing() -> None:
    """A selection of all spans is the batch."""
    batch = _three()
    assert plain(batch.select(np.ones(3, np.bool_))) == plain(batch)


def test_selecting_nothing_leaves_no_span() -> None:
    """A selection of no span has none, and still knows its requests."""
    batch = _three().select(np.zeros(3, np.bool_))
    assert len(batch) == 0
    assert [request.destination for request in batch.requests] == ["a", "b"]
    assert encode(batch).num_rows == 0


def test_a_batch_is_not_changed_by_its_selections() -> None:
    """Selecting and refusing give another batch; the first one stays as it was."""
    batch = _three()
    before = plain(batch)
    batch.select(np.array([True, False, True]))
    batch.reject(np.array([True, False, True]), "no")
    assert plain(batch) == before


def test_refusing_tells_each_request_its_count() -> None:
    """Refused spans leave the batch, and each request learns how many of its own and why; earlier refusals stay."""
    batch = _three().reject(np.array([True, True, False]), "first").reject(np.array([True]), "second")
    assert len(batch) == 0
    assert batch.rejections == (Rejection(0, 2, "first"), Rejection(1, 1, "second"))
    assert refusals(_three().reject(np.array([True, False, True]), "r")) == {(0, "r"): 1, (1, "r"): 1}


def test_refusing_nothing_tells_nobody() -> None:
    """A refusal of no span leaves no trace."""
    batch = _three()
    assert plain(batch.reject(np.zeros(3, np.bool_), "no")) == plain(batch)


def test_properties_of_requests_spread_to_spans_and_resources() -> None:
    """What holds of a request holds of its spans and its resources."""
    batch = _three()
    assert batch.of_spans([True, False]).tolist() == [True, True, False]
    assert batch.of_resources([False, True]).tolist() == [False, True]
