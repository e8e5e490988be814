"""GenAI: fills the canonical columns from the keys in genai_table, and decides which spans are calls of a model.

A call is recognised from its span alone, so that no order or completeness of delivery can change a sum.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from config import Model
from otlp.attributes import ValueType
from processors import convert
from processors.genai_table import CALLS, COLUMNS, SPAN_TYPE, TEST_MARK, Kind, Sender, Transform
from processors.pick import Plan

if TYPE_CHECKING:
    from otlp.attributes import Attributes
    from otlp.batch import SpanBatch
    from otlp.types import BoolColumn, Int64Column
    from processors.base import Context, Processor
    from processors.pick import Picked

_OPENROUTER = "openrouter"
_CONNECTION_TEST = "openrouter-connection-test"
_SEND_TRACE_BUTTON = "observability-test-button"
_GENERATION_ID = re.compile(r"gen-([0-9]{9,10})-.+")
_CHILD_SUFFIX = re.compile(r":(?:attempt-[0-9]+|generation)$")
_ID_TRUST_NS = 31 * 86_400 * 10**9
"""How far a generation id's own time may lie from its span's before it is taken for somebody else's format."""

_ORDERED = sorted(COLUMNS, key=lambda column: column.kind.value)
_OF_SPANS = Plan(_ORDERED, of_resource=False)
_OF_RESOURCES = Plan(_ORDERED, of_resource=True)
_KIND_ROWS = {kind: [row for row, column in enumerate(_ORDERED) if column.kind is kind] for kind in Kind}


class GenAiSettings(Model):
    """GenAI has no settings yet."""


def create(_: GenAiSettings) -> Processor:
    """The genai step."""
    return canonicalize


def canonicalize(batch: SpanBatch, _: Context) -> SpanBatch:
    """Add the canonical columns, `Source`, `IsTest`, `CallId` (empty if the span is no call) and `CallTime`."""
    if not len(batch):
        return batch
    broadcast_resources = _sent_by_openrouter(batch)
    resource_of_span = batch.scopes.resource[batch.spans.scope]
    broadcast = broadcast_resources[resource_of_span]
    picked = _OF_SPANS.pick(batch.span_attributes, len(batch), broadcast)
    columns = _convert(batch.span_attributes, picked, _OF_SPANS)
    fallback = _OF_RESOURCES.pick(batch.resource_attributes, len(broadcast_resources), broadcast_resources)
    for name, values in _convert(batch.resource_attributes, fallback, _OF_RESOURCES).items():
        of_spans = values.take(pa.array(resource_of_span))
        columns[name] = _first_filled(columns[name], of_spans) if name in columns else of_spans
    columns |= _calls(batch, columns, broadcast)
    del columns[SPAN_TYPE], columns[TEST_MARK]
    return batch.with_columns(columns)


def _sent_by_openrouter(batch: SpanBatch) -> BoolColumn:
    """Which resources come from OpenRouter Broadcast: service and scope are both named so."""
    attributes = batch.resource_attributes
    named = np.zeros(len(batch.resources.request), np.bool_)
    rows = np.flatnonzero(attributes.where("service.name".__eq__) & (attributes.type == ValueType.STRING))
    names = attributes.strings.take(pa.array(attributes.slot[rows]))
    named[attributes.owner[rows]] = pc.equal(names, _OPENROUTER).to_numpy(zero_copy_only=False)
    scoped = np.zeros(len(named), np.bool_)
    scoped[batch.scopes.resource] = pc.equal(batch.scopes.name, _OPENROUTER).to_numpy(zero_copy_only=False)
    return named & scoped


def _convert(attributes: Attributes, picked: Picked, plan: Plan) -> dict[str, pa.Array]:
    """Each column's values; all columns of one kind are converted together and then cut apart."""
    columns: dict[str, pa.Array] = {}
    owners = picked.row.shape[1]
    for kind, numbers in _KIND_ROWS.items():
        used = [number for number in numbers if number in plan.used_columns]
        if not used:
            continue
        rows = picked.row[used].ravel()
        match kind:
            case Kind.TEXT:
                values = _transformed(convert.texts(attributes, rows), picked.choice[used].ravel(), plan)
            case Kind.COUNT:
                values = convert.counts(attributes, rows)
            case Kind.MILLISECONDS:
                values = convert.milliseconds(attributes, rows, _factors(picked.choice[used].ravel(), plan))
            case Kind.USD:
                values = convert.dollars(attributes, rows)
        for place, number in enumerate(used):
            columns[_ORDERED[number].name] = values.slice(place * owners, owners)
    return columns


def _transformed(values: pa.StringArray, choices: np.ndarray, plan: Plan) -> pa.StringArray:
    cells = np.flatnonzero(plan.transformed[choices] & (choices >= 0))
    if not len(cells):
        return values
    texts = values.to_pylist()
    for cell in cells.tolist():
        if plan.keys[choices[cell]].transform is Transform.FIRST:
            texts[cell] = _first(texts[cell])
        else:
            texts[cell] = _CHILD_SUFFIX.sub("", texts[cell])
    return pa.array(texts, pa.string())


def _factors(choices: np.ndarray, plan: Plan) -> np.ndarray:
    return np.where(plan.transformed[choices] & (choices >= 0), 1000.0, 1.0)


def _first(text: str) -> str:
    """The first item of a list that comes as OTLP/JSON or as JSON text; other text as it is."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if isinstance(value, dict):
        items = value.get("arrayValue", {}).get("values", [])
        return str(next(iter(items[0].values()), "")) if items else ""
    if isinstance(value, list):
        return str(value[0]) if value else ""
    return text


def _first_filled(values: pa.StringArray, otherwise: pa.StringArray) -> pa.StringArray:
    return pc.if_else(pc.equal(values, ""), otherwise, values)


def _calls(batch: SpanBatch, columns: dict[str, pa.Array], broadcast: BoolColumn) -> dict[str, pa.Array]:
    """What follows from the columns together."""
    names = batch.spans.name
    test = (
        np.array(
            [
                name == _CONNECTION_TEST or mark == _SEND_TRACE_BUTTON
                for name, mark in zip(names.to_pylist(), columns[TEST_MARK].to_pylist(), strict=True)
            ]
        )
        & broadcast
    )
    generation = pc.equal(columns[SPAN_TYPE], "generation").to_numpy(zero_copy_only=False)
    operation = np.array([name in CALLS for name in columns["Operation"].to_pylist()])
    is_call = np.where(broadcast, generation, operation) & ~test
    call_id, call_time = _identify(batch, columns["GenerationId"], is_call)
    return {
        "ModelAuthor": _authors(columns["ModelAuthor"], columns["Model"]),
        "TotalTokens": pc.coalesce(columns["TotalTokens"], pc.add(columns["InputTokens"], columns["OutputTokens"])),
        "Source": pa.array([Sender.BROADCAST.value if sent else Sender.SDK.value for sent in broadcast], pa.string()),
        "IsTest": pa.array(test),
        "CallId": call_id,
        "CallTime": call_time,
    }


def _authors(authors: pa.StringArray, models: pa.StringArray) -> pa.StringArray:
    """The model's author: as reported, else what stands before the slash of its slug."""
    return pa.array(
        [
            author or (model.partition("/")[0] if "/" in model else "")
            for author, model in zip(authors.to_pylist(), models.to_pylist(), strict=True)
        ],
        pa.string(),
    )


def _identify(batch: SpanBatch, generations: pa.StringArray, is_call: BoolColumn) -> tuple[pa.Array, pa.Array]:
    """The identity of each call: OpenRouter's generation, so that copies of one meet; else the span itself."""
    ids = [""] * len(batch)
    times: Int64Column = batch.spans.start.copy()
    for row in np.flatnonzero(is_call).tolist():
        generation = generations[row].as_py()
        match = _GENERATION_ID.fullmatch(generation)
        if match and abs(int(match[1]) * 10**9 - int(times[row])) < _ID_TRUST_NS:
            ids[row] = generation
            times[row] = int(match[1]) * 10**9
        else:
            ids[row] = f"{batch.spans.trace_id[row]}:{batch.spans.span_id[row]}"
    return pa.array(ids, pa.string()), pa.array(times).view(pa.timestamp("ns", "UTC"))
