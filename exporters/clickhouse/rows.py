"""Turns a SpanBatch into rows: one Arrow record batch with the columns of all tables, which the spool keeps.

A table's rows are then a projection of it (see `project`), so that a span is laid out once, on its way in.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exporters.clickhouse.arrow import table_schemas
from exporters.clickhouse.maps import attribute_maps, content_maps, list_column, map_column, timestamps

if TYPE_CHECKING:
    from otlp.batch import SpanBatch
    from otlp.types import Int32Column

SPANS, CALLS = "spans_data", "calls_data"

_KINDS = pa.array(["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"])
_STATUS_CODES = pa.array(["Unset", "Ok", "Error"])
_BROADCAST_RANK = np.uint64(1 << 63)


@cache
def row_schema() -> pa.Schema:
    """The schema of spool records: the columns of all tables, each once."""
    fields = {field.name: field for table in (SPANS, CALLS) for field in table_schemas()[table]}
    return pa.schema(list(fields.values()))


def encode(batch: SpanBatch) -> pa.RecordBatch:
    """The rows of a batch, one a span, in `row_schema()`. A canonical column that no processor filled is empty."""
    columns = {**_of_spans(batch), **_of_scopes(batch), **_of_events(batch), **_of_links(batch), **batch.columns}
    columns["Metadata"] = map_column(batch.metadata.owner, len(batch), batch.metadata.key, batch.metadata.value)
    columns["Rank"] = _ranks(columns)
    arrays = [columns[field.name] if field.name in columns else _empty(field, len(batch)) for field in row_schema()]
    return pa.RecordBatch.from_arrays(arrays, schema=row_schema())


def project(rows: pa.Table, table: str) -> pa.Table:
    """The rows as `table` takes them: its columns, and only those spans that belong there."""
    if table == CALLS:
        rows = rows.filter(is_call(rows))
    return rows.select(table_schemas()[table].names)


def is_call(rows: pa.Table) -> pa.ChunkedArray:
    """Which rows are calls of a model."""
    return pc.not_equal(rows["CallId"], "")


def _of_spans(batch: SpanBatch) -> dict[str, pa.Array]:
    spans = batch.spans
    received = np.array([request.received_at for request in batch.requests], np.int64)[spans.request]
    destinations = pa.array([request.destination for request in batch.requests])
    maps = attribute_maps("SpanAttributes", batch.span_attributes, len(batch), with_content=False)
    return {
        "Destination": destinations.take(pa.array(spans.request)),
        "Timestamp": timestamps(spans.start),
        "TraceId": spans.trace_id,
        "SpanId": spans.span_id,
        "ParentSpanId": spans.parent_span_id,
        "TraceState": spans.trace_state,
        "Flags": pa.array(spans.flags),
        "SpanName": spans.name,
        "SpanKind": _KINDS.take(pa.array(spans.kind)),
        "EndTimestamp": timestamps(spans.end),
        "Duration": pa.array(np.maximum(spans.end - spans.start, 0).astype(np.uint64)),
        "StatusCode": _STATUS_CODES.take(pa.array(spans.status_code)),
        "StatusMessage": spans.status_message,
        "DroppedAttributesCount": pa.array(spans.dropped_attributes),
        "DroppedEventsCount": pa.array(spans.dropped_events),
        "DroppedLinksCount": pa.array(spans.dropped_links),
        "IngestedAt": timestamps(received),
        "Version": pa.array(received.astype(np.uint64)),
        **maps,
        **content_maps(batch.span_attributes, len(batch)),
    }


def _of_scopes(batch: SpanBatch) -> dict[str, pa.Array]:
    scopes, resources = batch.scopes, batch.resources
    scope = batch.spans.scope
    resource = scopes.resource[scope]
    scope_columns = {
        "ScopeName": scopes.name,
        "ScopeVersion": scopes.version,
        "ScopeSchemaUrl": scopes.schema_url,
        "ScopeDroppedAttributesCount": pa.array(scopes.dropped_attributes),
        **attribute_maps("ScopeAttributes", batch.scope_attributes, len(scopes.resource)),
    }
    resource_columns = {
        "ResourceSchemaUrl": resources.schema_url,
        "ResourceDroppedAttributesCount": pa.array(resources.dropped_attributes),
        **attribute_maps("ResourceAttributes", batch.resource_attributes, len(resources.request)),
    }
    return {**_spread(scope_columns, scope), **_spread(resource_columns, resource)}


def _spread(columns: dict[str, pa.Array], rows: Int32Column) -> dict[str, pa.Array]:
    """Each span's scope or resource, where `rows` says which it is."""
    owners = len(next(iter(columns.values())))
    if owners == len(rows) and (rows == np.arange(owners)).all():
        return columns
    indices = pa.array(rows)
    return {name: column.take(indices) for name, column in columns.items()}


def _of_events(batch: SpanBatch) -> dict[str, pa.Array]:
    events = batch.events
    if not len(events.span):
        return {}
    columns = {
        "Events.Timestamp": timestamps(events.time),
        "Events.Name": events.name,
        "Events.DroppedAttributesCount": pa.array(events.dropped_attributes),
        **attribute_maps("Events.Attributes", batch.event_attributes, len(events.span)),
    }
    return {name: list_column(events.span, len(batch), column) for name, column in columns.items()}


def _of_links(batch: SpanBatch) -> dict[str, pa.Array]:
    links = batch.links
    if not len(links.span):
        return {}
    columns = {
        "Links.TraceId": links.trace_id,
        "Links.SpanId": links.span_id,
        "Links.TraceState": links.trace_state,
        "Links.Flags": pa.array(links.flags),
        "Links.DroppedAttributesCount": pa.array(links.dropped_attributes),
        **attribute_maps("Links.Attributes", batch.link_attributes, len(links.span)),
    }
    return {name: list_column(links.span, len(batch), column) for name, column in columns.items()}


def _ranks(columns: dict[str, pa.Array]) -> pa.Array:
    """Which copy of a call stands: Broadcast's before an SDK's, then the one received last."""
    versions = columns["Version"].to_numpy()
    if "Source" not in columns:
        return pa.array(versions)
    broadcast = pc.equal(columns["Source"], "broadcast").to_numpy(zero_copy_only=False)
    return pa.array(np.where(broadcast, versions | _BROADCAST_RANK, versions))


@lru_cache(maxsize=1024)
def _empty(field: pa.Field, rows: int) -> pa.Array:
    """A column of nothing: null where the column may be null, else the type's zero."""
    if field.nullable:
        return pa.nulls(rows, field.type)
    if pa.types.is_list(field.type) or pa.types.is_map(field.type):
        return pa.array([[]] * rows, field.type)
    if pa.types.is_string(field.type):
        return pa.array([""] * rows, field.type)
    return pa.array(np.zeros(rows, np.int64)).cast(field.type)
