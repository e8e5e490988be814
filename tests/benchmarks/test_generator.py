"""The benchmarks' traffic: seeded, spread as asked, and what OpenRouter and SDKs send."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.generator import END, Form, Traffic, batches, bodies, deliveries, spans_per_body
from config import DestinationSettings
from otlp.batch import Request
from otlp.builder import SpanBatchBuilder
from otlp.decode_json import decode_json
from otlp.decode_protobuf import decode_protobuf
from processors.base import Context
from processors.registry import PROCESSORS
from tests.otlp.messages import listed, values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otlp.batch import SpanBatch

FORMS: tuple[Form, ...] = ("deliveries", "protobuf", "json")
DAY = 86_400 * 10**9


def decoded(all_bodies: Iterable[bytes], form: Form) -> SpanBatch:
    """The spans of bodies in one batch."""
    decode = decode_protobuf if form == "protobuf" else decode_json
    builder = SpanBatchBuilder()
    for body in all_bodies:
        decode(body, Request("default", END), builder)
    return builder.build()


def texts_of(batch: SpanBatch, key: str) -> list[str]:
    """The values of a span attribute, in order."""
    return [text for _, name, _, text in listed(batch.span_attributes) if name == key]


@pytest.mark.parametrize("form", FORMS)
def test_equal_traffic_gives_equal_bytes(form: Form) -> None:
    """A run can be repeated exactly, from the seed alone."""
    traffic = Traffic(seed=5, spans=1000)
    assert list(bodies(traffic, form)) == list(bodies(traffic, form))


@pytest.mark.parametrize("form", FORMS)
def test_ids_differ_within_a_seed_and_between_seeds(form: Form) -> None:
    """No two spans of whatever traffic are one for the gateway, and each trace has a root."""
    one, other = (decoded(bodies(Traffic(seed=seed, spans=900), form), form).spans for seed in (1, 2))
    assert len(set(values(one.span_id)) | set(values(other.span_id))) == 1800
    traces = set(values(one.trace_id)), set(values(other.trace_id))
    assert not traces[0] & traces[1]
    parents = values(one.parent_span_id)
    assert parents.count("") == len(traces[0])
    assert {parent for parent in parents if parent} <= set(values(one.span_id))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spans", [3, 300, 699])
def test_there_are_as_many_spans_as_asked(form: Form, spans: int) -> None:
    """The last batch is cut to the number that is asked for; every one decodes, none is refused."""
    all_bodies = list(bodies(Traffic(spans=spans), form))
    batch = decoded(all_bodies, form)
    assert len(batch.spans.request) == spans
    assert not batch.rejections
    assert len(all_bodies) == -(-spans // spans_per_body(form))


@pytest.mark.parametrize("form", FORMS)
def test_without_a_number_there_is_no_end(form: Form) -> None:
    """A load takes what it needs."""
    assert len(list(islice(bodies(Traffic(), form), 40))) == 40


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spans", [3000, None])
def test_times_spread_over_the_days_before_the_end(form: Form, spans: int | None) -> None:
    """Each tenth of the days has spans, and none begins outside of them by more than a trace takes."""
    taken = islice(bodies(Traffic(spans=spans, days=30, end=END), form), 1000 if form == "deliveries" else 30)
    batch = decoded(taken, form)
    begun = np.array(values(batch.spans.start), np.int64)
    assert begun.min() >= END - 30 * DAY - 10**7
    assert begun.max() <= END + 60 * 10**9
    assert len(set(((END - begun) // (3 * DAY)).clip(0, 9).tolist())) == 10
    assert (np.array(values(batch.spans.end), np.int64) > begun).all()


def test_a_number_of_users_and_models_is_kept() -> None:
    """No more than the users and models that are asked for appear, and of a few all do."""
    batch = decoded(deliveries(Traffic(spans=3000, users=20, models=15)), "deliveries")
    assert len(set(texts_of(batch, "user.id"))) == 20
    assert len(set(texts_of(batch, "gen_ai.request.model"))) == 15


def test_deliveries_are_not_all_alike() -> None:
    """Models, departments, token counts, costs, latencies and prompts vary; some calls fail."""
    batch = decoded(deliveries(Traffic(spans=1500)), "deliveries")
    assert len(set(texts_of(batch, "trace.metadata.department"))) > 5
    for key in ("usage.total_cost", "usage.input_tokens", "prompt"):
        assert len(set(texts_of(batch, f"gen_ai.{key}"))) > 400
    lengths = sorted(len(text) for text in texts_of(batch, "gen_ai.prompt"))
    assert lengths[-1] > 4 * lengths[0]
    assert set(values(batch.spans.status_code)) == {1, 2}


def test_a_delivery_s_numbers_agree() -> None:
    """Tokens and costs add up, and what is nested says the same as what is not."""
    for body in deliveries(Traffic(spans=300)):
        document = orjson.loads(body)
        root = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        found = {entry["key"]: next(iter(entry["value"].values())) for entry in root["attributes"]}
        usage = {key.removeprefix("gen_ai.usage."): value for key, value in found.items() if "gen_ai.usage" in key}
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert usage["total_cost"] == pytest.approx(usage["input_cost"] + usage["output_cost"])
        raw = orjson.loads(found["trace.metadata.openrouter_generation.upstream_raw_response_usage"])
        assert raw["prompt_tokens"] == usage["input_tokens"]
        assert orjson.loads(found["gen_ai.completion"])["rawRequest"]["user"] == found["user.id"]


def test_sdk_spans_have_29_attributes() -> None:
    """The size of an SDK's span is that of the peer's measurement."""
    batch = decoded(batches(Traffic(spans=500), "protobuf"), "protobuf")
    assert len(batch.span_attributes) == 29 * 500


def test_json_and_protobuf_are_the_same_spans() -> None:
    """The two forms of a batch differ in nothing but the encoding."""
    one, other = (decoded(batches(Traffic(spans=200), form), form) for form in ("protobuf", "json"))
    for column in one.spans.__slots__:
        assert values(getattr(one.spans, column)) == values(getattr(other.spans, column)), column
    assert listed(one.span_attributes) == listed(other.span_attributes)


def test_a_protobuf_batch_is_what_a_serializer_writes() -> None:
    """Put together by hand, it is still the canonical encoding of its message."""
    for body in batches(Traffic(spans=150), "protobuf"):
        message = ExportTraceServiceRequest.FromString(body)
        assert message.SerializeToString(deterministic=True) == body


def test_each_delivery_is_a_call_with_a_cost() -> None:
    """The processors find in a delivery what they find in OpenRouter's."""
    batch = decoded(deliveries(Traffic(spans=300)), "deliveries")
    for name in ("privacy", "metadata", "genai", "cost"):
        batch = PROCESSORS[name].create(PROCESSORS[name].settings())(batch, Context({"default": DestinationSettings()}))
    calls = [call for call in values(batch.texts("CallId")) if call]
    assert len(set(calls)) == 100
