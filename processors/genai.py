"""GenAI: fills the canonical columns from the keys in genai_table, and decides which spans are calls of a model.

A call is recognised from its span alone, so that no order or completeness of delivery can change a sum.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from config import Model
from otlp.types import NullableColumn
from processors import convert
from processors.genai_table import CALLS, COLUMNS, SPAN_TYPE, TEST_MARK, Kind, Sender, Transform
from processors.pick import Plan

if TYPE_CHECKING:
    from otlp.batch import SpanBatch
    from otlp.types import BoolColumn, Column, Int64Column, TextColumn
    from processors.base import Context, Processor
    from processors.pick import Picked

_OPENROUTER = "openrouter"
_SERVICE = "ServiceName"
_CONNECTION_TEST = "openrouter-connection-test"
_SEND_TRACE_BUTTON = "observability-test-button"
_GENERATION_ID = re.compile(r"gen-([0-9]{9,10})-.+")
_CHILD_SUFFIX = re.compile(r":(?:attempt-[0-9]+|generation)$")
_ID_TRUST_NS = 31 * 86_400 * 10**9
"""How far a generation id's own time may lie from its span's before it is taken for somebody else's format."""

# Columns of one kind lie together, so that they are converted together.
_ORDERED = sorted(COLUMNS, key=lambda column: column.kind.value)
_PLAN = Plan(_ORDERED)
_ROWS_OF = {
    kind: slice(
        next(row for row, column in enumerate(_ORDERED) if column.kind is kind),
        1 + max(row for row, column in enumerate(_ORDERED) if column.kind is kind),
    )
    for kind in Kind
}
# One more than there are keys: no choice is -1 and finds the last.
_TRANSFORMED = np.array([*(key.transform is not Transform.NONE for key in _PLAN.keys), False], np.bool_)
# The last one assigned stands, so the first key of a column comes last.
_RESOURCE_KEYS = [(key.name, column.name) for column in COLUMNS for key in reversed(column.keys) if key.of_resource]


class GenAiSettings(Model):
    """GenAI has no settings yet."""


def create(_: GenAiSettings) -> Processor:
    """The genai step."""
    return canonicalize


def canonicalize(batch: SpanBatch, _: Context) -> SpanBatch:
    """Add the canonical columns, `Source`, `IsTest`, `CallId` (empty if the span is no call) and `CallTime` (ns)."""
    if not len(batch):
        return batch
    of_resources = _resource_columns(batch)
    scope_of_span = batch.spans.scope
    resource_of_span = batch.scopes.resource[scope_of_span]
    broadcast = np.asarray(
        (of_resources[_SERVICE][resource_of_span] == _OPENROUTER) & (batch.scopes.name[scope_of_span] == _OPENROUTER),
        np.bool_,
    )
    columns = _convert(batch, _PLAN.pick(batch.span_attributes, len(batch), broadcast))
    for name, values in of_resources.items():
        column = columns[name]
        columns[name] = np.where(column == "", values[resource_of_span], column)
    columns |= _calls(batch, columns, broadcast)
    del columns[SPAN_TYPE], columns[TEST_MARK]
    return batch.with_columns(columns)


def _resource_columns(batch: SpanBatch) -> dict[str, TextColumn]:
    """The columns that resources can fill, for each resource."""
    attributes = batch.resource_attributes
    columns = {column: np.full(len(batch.resources.request), "", np.object_) for _, column in _RESOURCE_KEYS}
    for key, column in _RESOURCE_KEYS:
        if key in attributes.keys:
            rows = (attributes.key == attributes.keys.index(key)).nonzero()[0]
            columns[column][attributes.owner[rows]] = attributes.text(rows)
    return columns


def _convert(batch: SpanBatch, picked: Picked) -> dict[str, Any]:
    """Each column's values; all columns of one kind are converted together and then cut apart."""
    attributes = batch.span_attributes
    columns: dict[str, Any] = {}
    for kind, rows_of_kind in _ROWS_OF.items():
        shape = picked.row[rows_of_kind].shape
        rows, choices = picked.row[rows_of_kind].ravel(), picked.choice[rows_of_kind].ravel()
        if kind is Kind.TEXT:
            table = _transformed(convert.texts(attributes, rows), choices).reshape(shape)
            columns |= dict(zip((column.name for column in _ORDERED[rows_of_kind]), table, strict=True))
            continue
        if kind is Kind.COUNT:
            values = convert.counts(attributes, rows)
        elif kind is Kind.USD:
            values = convert.dollars(attributes, rows)
        else:
            values = convert.milliseconds(attributes, rows, np.where(_TRANSFORMED[choices], 1e3, 1.0))
        numbers, valid = values.values.reshape(shape), values.valid.reshape(shape)
        for place, column in enumerate(_ORDERED[rows_of_kind]):
            columns[column.name] = NullableColumn(numbers[place], valid[place])
    return columns


def _transformed(values: TextColumn, choices: np.ndarray) -> TextColumn:
    for cell in _TRANSFORMED[choices].nonzero()[0].tolist():
        if _PLAN.keys[choices[cell]].transform is Transform.FIRST:
            values[cell] = _first(values[cell])
        else:
            values[cell] = _CHILD_SUFFIX.sub("", values[cell])
    return values


def _first(text: str) -> str:
    """The first item of a list that comes as OTLP/JSON or as JSON text; other text as it is."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    match value:
        case {"arrayValue": {"values": [{"stringValue": str(item)}, *_]}} | [str(item), *_]:
            return item
        case [*_] | {"arrayValue": {"values": []}}:
            return ""
        case _:
            return text


def _calls(batch: SpanBatch, columns: dict[str, Any], broadcast: BoolColumn) -> dict[str, Column]:
    """What follows from the columns together."""
    test = broadcast & ((batch.spans.name == _CONNECTION_TEST) | (columns[TEST_MARK] == _SEND_TRACE_BUTTON))
    generation = columns[SPAN_TYPE] == "generation"
    operation = np.array([name in CALLS for name in columns["Operation"]], np.bool_)
    is_call = np.where(broadcast, generation, operation) & ~test
    call_id, call_time = _identify(batch, columns["GenerationId"], is_call)
    return {
        "ModelAuthor": _authors(columns["ModelAuthor"], columns["Model"]),
        "TotalTokens": _total(columns["TotalTokens"], columns["InputTokens"], columns["OutputTokens"]),
        "Source": np.where(broadcast, Sender.BROADCAST.value, Sender.SDK.value).astype(np.object_),
        "IsTest": test.astype(np.bool_),
        "CallId": call_id,
        "CallTime": call_time,
    }


def _authors(authors: TextColumn, models: TextColumn) -> TextColumn:
    """The model's author: as reported, else what stands before the slash of its slug."""
    result = authors.copy()
    for row in ((authors == "") & (models != "")).nonzero()[0].tolist():
        author, slash, _ = models[row].partition("/")
        result[row] = author if slash else ""
    return result


def _total(total: NullableColumn, inputs: NullableColumn, outputs: NullableColumn) -> NullableColumn:
    """The total as reported, else the sum of its parts."""
    return NullableColumn(
        np.where(total.valid, total.values, inputs.values + outputs.values),
        total.valid | (inputs.valid & outputs.valid),
    )


def _identify(batch: SpanBatch, generations: TextColumn, is_call: BoolColumn) -> tuple[TextColumn, Int64Column]:
    """The identity of each call: OpenRouter's generation, so that copies of one meet; else the span itself."""
    ids = np.full(len(batch), "", np.object_)
    times = batch.spans.start.copy()
    for row in is_call.nonzero()[0].tolist():
        match = _GENERATION_ID.fullmatch(generations[row])
        if match and abs(int(match[1]) * 10**9 - int(times[row])) < _ID_TRUST_NS:
            ids[row] = generations[row]
            times[row] = int(match[1]) * 10**9
        else:
            ids[row] = f"{batch.spans.trace_id[row]}:{batch.spans.span_id[row]}"
    return ids, times
