"""Turns a SpanBatch into rows with the columns of all tables, packed for the spool.

A table's rows are then a projection of them (see `project`), so that a span is laid out once, on its way in.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exporters.clickhouse.arrow import table_schemas
from exporters.clickhouse.columns import Lists, Maps
from exporters.clickhouse.maps import attribute_maps, span_attribute_maps
from exporters.clickhouse.packed import Layout

if TYPE_CHECKING:
    from exporters.clickhouse.columns import Column
    from otlp.batch import SpanBatch

SPANS, CALLS = "spans_data", "calls_data"

_KINDS = np.array(["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"], np.object_)
_STATUS_CODES = np.array(["Unset", "Ok", "Error"], np.object_)
_BROADCAST_RANK = np.uint64(1 << 63)


@cache
def layout() -> Layout:
    """How rows are packed for the spool. Unpacked they have the columns of all tables, each once."""
    fields = {field.name: field for table in (SPANS, CALLS) for field in table_schemas()[table]}
    return Layout(pa.schema(list(fields.values())))


def encode(batch: SpanBatch) -> pa.RecordBatch:
    """The rows of a batch, one a span, packed. A canonical column that no processor filled is empty."""
    columns: dict[str, Column] = {**_of_spans(batch), **_of_scopes(batch), **batch.columns}
    if len(batch.events.span):
        columns |= _of_events(batch)
    if len(batch.links.span):
        columns |= _of_links(batch)
    columns["Metadata"] = Maps(batch.metadata.owner, batch.metadata.key, batch.metadata.value)
    columns["Rank"] = _ranks(columns)
    return layout().pack(columns, len(batch))


def project(rows: pa.Table, table: str) -> pa.Table:
    """The rows with the columns of `table`."""
    return rows.select(table_schemas()[table].names)


def is_call(rows: pa.Table) -> pa.ChunkedArray:
    """Which rows are calls of a model."""
    return pc.not_equal(rows["CallId"], "")


def _of_spans(batch: SpanBatch) -> dict[str, Column]:
    spans = batch.spans
    received = np.array([request.received_at for request in batch.requests], np.int64)[spans.request]
    destinations = np.array([request.destination for request in batch.requests], np.object_)
    return {
        "Destination": destinations[spans.request],
        "Timestamp": spans.start,
        "TraceId": spans.trace_id,
        "SpanId": spans.span_id,
        "ParentSpanId": spans.parent_span_id,
        "TraceState": spans.trace_state,
        "Flags": spans.flags,
        "SpanName": spans.name,
        "SpanKind": _KINDS[spans.kind],
        "EndTimestamp": spans.end,
        "Duration": np.maximum(spans.end - spans.start, 0).astype(np.uint64),
        "StatusCode": _STATUS_CODES[spans.status_code],
        "StatusMessage": spans.status_message,
        "DroppedAttributesCount": spans.dropped_attributes,
        "DroppedEventsCount": spans.dropped_events,
        "DroppedLinksCount": spans.dropped_links,
        "IngestedAt": received,
        "Version": received.astype(np.uint64),
        **span_attribute_maps(batch.span_attributes),
    }


def _of_scopes(batch: SpanBatch) -> dict[str, Column]:
    scopes, resources = batch.scopes, batch.resources
    scope = batch.spans.scope
    resource = scopes.resource[scope]
    columns: dict[str, Column] = {
        "ScopeName": scopes.name[scope],
        "ScopeVersion": scopes.version[scope],
        "ScopeSchemaUrl": scopes.schema_url[scope],
        "ScopeDroppedAttributesCount": scopes.dropped_attributes[scope],
        "ResourceSchemaUrl": resources.schema_url[resource],
        "ResourceDroppedAttributesCount": resources.dropped_attributes[resource],
    }
    if len(batch.scope_attributes):
        columns |= attribute_maps("ScopeAttributes", batch.scope_attributes.repeated(scope))
    if len(batch.resource_attributes):
        columns |= attribute_maps("ResourceAttributes", batch.resource_attributes.repeated(resource))
    return columns


def _of_events(batch: SpanBatch) -> dict[str, Column]:
    events = batch.events
    columns: dict[str, Any] = {
        "Events.Timestamp": events.time,
        "Events.Name": events.name,
        "Events.DroppedAttributesCount": events.dropped_attributes,
        **attribute_maps("Events.Attributes", batch.event_attributes),
    }
    return {name: Lists(events.span, items) for name, items in columns.items()}


def _of_links(batch: SpanBatch) -> dict[str, Column]:
    links = batch.links
    columns: dict[str, Any] = {
        "Links.TraceId": links.trace_id,
        "Links.SpanId": links.span_id,
        "Links.TraceState": links.trace_state,
        "Links.Flags": links.flags,
        "Links.DroppedAttributesCount": links.dropped_attributes,
        **attribute_maps("Links.Attributes", batch.link_attributes),
    }
    return {name: Lists(links.span, items) for name, items in columns.items()}


def _ranks(columns: dict[str, Any]) -> np.ndarray:
    """Which copy of a call stands: Broadcast's before an SDK's, then the one received last."""
    versions: np.ndarray = columns["Version"]
    if "Source" not in columns:
        return versions
    return np.where(columns["Source"] == "broadcast", versions | _BROADCAST_RANK, versions)
