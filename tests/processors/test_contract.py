"""What holds of every processor: it keeps spans, their identity and order, and never touches another request's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otlp.batch import Request
from otlp.builder import SpanBatchBuilder
from processors.genai_table import COLUMNS
from processors.registry import PROCESSORS
from tests.otlp.messages import AWKWARD_TEXTS, batch_of, good_requests, plain, rows_of
from tests.processors.chain import CONTEXT, chat, openrouter, process, sample, sdk, step
from tests.rows import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from otlp.batch import SpanBatch

PROPERTY = settings(
    deadline=None,
    max_examples=5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
OPEN, PRIVATE, OTHER = Request("open", 1), Request("private", 2), Request("default", 3)
KEYS = sorted({key.name for column in COLUMNS for key in column.keys} | {"trace.metadata.k", "gen_ai.prompt"})
EVERYTHING: list[Any] = [sample(), sdk(chat()), openrouter({"span.type": "generation"}), sample()]


@pytest.fixture(params=PROCESSORS)
def name(request: pytest.FixtureRequest) -> str:
    """Each processor of the registry."""
    return str(request.param)


def _earlier(name: str) -> list[str]:
    """The processors that stand before this one."""
    names = list(PROCESSORS)
    return names[: names.index(name)]


def _identity(batch: SpanBatch) -> list[tuple[Any, ...]]:
    spans = plain(batch)["spans"]
    columns = ("request", "trace_id", "span_id", "parent_span_id", "name", "start", "end", "kind", "status_code")
    return list(zip(*(spans[column] for column in columns), strict=True))


def _before(name: str, *deliveries: Any, requests: list[Request]) -> SpanBatch:
    batch = batch_of(*deliveries, requests=requests)
    earlier = _earlier(name)
    return process(batch, *earlier) if earlier else batch


@PROPERTY
@given(messages=st.lists(good_requests, min_size=1, max_size=2))
def test_identity_and_order_are_kept(name: str, messages: list[ExportTraceServiceRequest]) -> None:
    """A processor keeps every span, its ids, times and place, and refuses none that nothing asks it to refuse."""
    batch = batch_of(sample(), *messages, requests=[OPEN, *[PRIVATE, OTHER][: len(messages)]])
    after = step(name)(batch, CONTEXT)
    assert _identity(after) == _identity(batch)
    assert after.rejections == batch.rejections


@PROPERTY
@given(message=good_requests)
def test_a_request_is_processed_as_if_it_were_alone(name: str, message: ExportTraceServiceRequest) -> None:
    """A request's rows come out the same in company as alone, whatever its neighbours hold and want."""
    deliveries, requests = [message, sample(), sdk(chat())], [OPEN, PRIVATE, OTHER]
    together = step(name)(_before(name, *deliveries, requests=requests), CONTEXT)
    for row, (delivery, request) in enumerate(zip(deliveries, requests, strict=True)):
        alone = step(name)(_before(name, delivery, requests=[request]), CONTEXT)
        part = together.select(np.array(plain(together)["spans"]["request"], np.int32) == row)
        assert list(map(repr, rows_of(encode(part)))) == list(map(repr, rows_of(encode(alone))))


def test_a_processor_does_not_change_its_batch(name: str) -> None:
    """A processor gives another batch and leaves the one it was given as it was."""
    batch = _before(name, *EVERYTHING, requests=[OPEN, PRIVATE, OTHER, OPEN])
    before = repr(rows_of(encode(batch)))
    step(name)(batch, CONTEXT)
    assert repr(rows_of(encode(batch))) == before


@pytest.mark.parametrize("delivery", [{}, {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}}]}]}])
def test_a_batch_without_spans_passes(name: str, delivery: dict[str, Any]) -> None:
    """A batch of requests that held no spans, such as a connection test, comes out empty."""
    after = step(name)(batch_of(delivery, requests=[PRIVATE]), CONTEXT)
    assert len(after) == 0
    assert after.rejections == ()
    assert encode(process(after)).num_rows == 0


def test_a_batch_without_requests_passes(name: str) -> None:
    """A batch of nothing at all comes out empty."""
    assert len(step(name)(SpanBatchBuilder().build(), CONTEXT)) == 0


def test_a_processor_stands_alone(name: str) -> None:
    """A processor without the ones before it loses no span and raises nothing."""
    batch = batch_of(*EVERYTHING, requests=[OPEN, PRIVATE, OTHER, OPEN])
    assert encode(step(name)(batch, CONTEXT)).num_rows == len(batch)


@pytest.mark.parametrize("text", AWKWARD_TEXTS)
@pytest.mark.parametrize("build", [openrouter, sdk])
def test_no_text_makes_the_chain_fail(build: Callable[[dict[str, Any]], dict[str, Any]], text: str) -> None:
    """Whatever text stands under any key that a processor reads, the span is taken and its row is sound."""
    usual = {"gen_ai.operation.name": "chat", "span.type": "generation", "gen_ai.response.model": "openai/gpt-4o"}
    deliveries = [build(usual | {key: text}) for key in KEYS]
    rows = encode(process(batch_of(*deliveries)))
    assert rows.num_rows == len(KEYS)
    rows.validate(full=True)


@settings(deadline=None, max_examples=60)
@given(
    values=st.dictionaries(
        st.sampled_from(KEYS),
        st.integers(-(2**63), 2**63 - 1)
        | st.floats()
        | st.booleans()
        | st.lists(st.text("ab", max_size=2), max_size=2)
        | st.text(st.characters(codec="utf-8"), max_size=8),
        max_size=6,
    ),
    broadcast=st.booleans(),
)
def test_no_value_makes_the_chain_fail(values: dict[str, Any], *, broadcast: bool) -> None:
    """Whatever type and value the known keys have, the chain takes the span and its row can be encoded."""
    usual = {"gen_ai.operation.name": "chat", "span.type": "generation", "gen_ai.response.model": "openai/gpt-4o"}
    build = openrouter if broadcast else sdk
    values = {key: _written(value) for key, value in (usual | values).items()}
    rows = encode(process(batch_of(build(values))))
    assert rows.num_rows == 1
    rows.validate(full=True)


def _written(value: Any) -> Any:
    """Doubles that JSON has no number for are text there."""
    if isinstance(value, float) and not np.isfinite(value):
        return {"doubleValue": "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return value
