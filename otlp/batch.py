"""SpanBatch: many requests' spans as columns, and what the processors have found out about them.

The tables follow the OpenTelemetry Arrow (OTAP) data model. Columns are numpy arrays without nulls unless said
otherwise; every column of a table has one element a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from otlp.types import texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otlp.attributes import Attributes
    from otlp.types import (
        BoolColumn,
        Column,
        Int32Column,
        Int64Column,
        NullableColumn,
        TextColumn,
        UInt8Column,
        UInt32Column,
    )


@dataclass(frozen=True, slots=True)
class Request:
    """One export request: whose it is, and when it arrived (nanoseconds since 1970, UTC)."""

    destination: str
    received_at: int


@dataclass(frozen=True, slots=True)
class Resources:
    """`request` is a row of `SpanBatch.requests`."""

    request: Int32Column
    schema_url: TextColumn
    dropped_attributes: UInt32Column


@dataclass(frozen=True, slots=True)
class Scopes:
    """`resource` is a row of Resources."""

    resource: Int32Column
    name: TextColumn
    version: TextColumn
    schema_url: TextColumn
    dropped_attributes: UInt32Column


@dataclass(frozen=True, slots=True)
class Spans:
    """Ids are lower-case hex text (a root's parent is empty); `start` and `end` are nanoseconds since 1970, UTC.

    `request` is a row of `SpanBatch.requests`, `scope` a row of Scopes.
    """

    request: Int32Column
    scope: Int32Column
    trace_id: TextColumn
    span_id: TextColumn
    parent_span_id: TextColumn
    trace_state: TextColumn
    name: TextColumn
    status_message: TextColumn
    kind: UInt8Column
    status_code: UInt8Column
    flags: UInt32Column
    start: Int64Column
    end: Int64Column
    dropped_attributes: UInt32Column
    dropped_events: UInt32Column
    dropped_links: UInt32Column

    def __len__(self) -> int:
        """The number of spans."""
        return len(self.request)


@dataclass(frozen=True, slots=True)
class Events:
    """`span` is a row of Spans; `time` is nanoseconds since 1970, UTC."""

    span: Int32Column
    time: Int64Column
    name: TextColumn
    dropped_attributes: UInt32Column


@dataclass(frozen=True, slots=True)
class Links:
    """`span` is a row of Spans; the ids are those of the span linked to."""

    span: Int32Column
    trace_id: TextColumn
    span_id: TextColumn
    trace_state: TextColumn
    flags: UInt32Column
    dropped_attributes: UInt32Column


@dataclass(frozen=True, slots=True)
class Pairs:
    """Text by key, several to an owner: `owner` is a row of Spans (ascending)."""

    owner: Int32Column
    key: TextColumn
    value: TextColumn


@dataclass(frozen=True, slots=True)
class Rejection:
    """`count` spans of the request in row `request` were refused for `reason`, a sentence for the sender."""

    request: int
    count: int
    reason: str


TableT = TypeVar("TableT", Spans, Events, Links, Pairs)

NO_PAIRS = Pairs(np.empty(0, np.int32), texts([]), texts([]))


@dataclass(frozen=True, slots=True)
class SpanBatch:
    """Spans of one or more requests. Immutable: a processor returns another one.

    `metadata` is the caller's own metadata, `columns` the canonical columns by their names in ClickHouse (one element a
    span; text is empty where it is unknown, numbers are null); both are empty until processors fill them.
    """

    requests: Sequence[Request]
    resources: Resources
    scopes: Scopes
    spans: Spans
    events: Events
    links: Links
    resource_attributes: Attributes
    scope_attributes: Attributes
    span_attributes: Attributes
    event_attributes: Attributes
    link_attributes: Attributes
    metadata: Pairs = NO_PAIRS
    columns: Mapping[str, Column] = field(default_factory=dict)
    rejections: tuple[Rejection, ...] = ()

    def __len__(self) -> int:
        """The number of spans."""
        return len(self.spans)

    def texts(self, name: str) -> TextColumn:
        """A canonical column of text."""
        return cast("TextColumn", self.columns[name])

    def numbers(self, name: str) -> NullableColumn:
        """A canonical column of numbers."""
        return cast("NullableColumn", self.columns[name])

    def of_spans(self, per_request: Sequence[bool]) -> BoolColumn:
        """Spread a property of requests over their spans."""
        return np.asarray(per_request, np.bool_)[self.spans.request]

    def of_resources(self, per_request: Sequence[bool]) -> BoolColumn:
        """Spread a property of requests over their resources."""
        return np.asarray(per_request, np.bool_)[self.resources.request]

    def with_columns(self, columns: Mapping[str, Column]) -> SpanBatch:
        """The batch with these canonical columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    def reject(self, mask: BoolColumn, reason: str) -> SpanBatch:
        """The batch without the spans where `mask` is true; each request is told how many of its spans and why."""
        counts = np.bincount(self.spans.request[mask], minlength=len(self.requests))
        told = tuple(Rejection(int(row), int(counts[row]), reason) for row in np.flatnonzero(counts))
        return replace(self.select(~mask), rejections=self.rejections + told)

    def select(self, mask: BoolColumn) -> SpanBatch:
        """Only the spans where `mask` is true, with their events, links and attributes; resources and scopes stay."""
        if mask.all():
            return self
        spans = np.flatnonzero(mask).astype(np.int32)
        place = np.full(len(mask), -1, np.int32)
        place[spans] = np.arange(len(spans), dtype=np.int32)
        events = np.flatnonzero(mask[self.events.span]).astype(np.int32)
        links = np.flatnonzero(mask[self.links.span]).astype(np.int32)
        pairs = np.flatnonzero(mask[self.metadata.owner]).astype(np.int32)
        kept_events, kept_links = _take(self.events, events), _take(self.links, links)
        kept_metadata = _take(self.metadata, pairs)
        return replace(
            self,
            spans=_take(self.spans, spans),
            events=replace(kept_events, span=place[kept_events.span]),
            links=replace(kept_links, span=place[kept_links.span]),
            span_attributes=self.span_attributes.of_owners(spans, len(mask)),
            event_attributes=self.event_attributes.of_owners(events, len(self.events.span)),
            link_attributes=self.link_attributes.of_owners(links, len(self.links.span)),
            metadata=replace(kept_metadata, owner=place[kept_metadata.owner]),
            columns={name: column[spans] for name, column in self.columns.items()},
        )


def _take(table: TableT, rows: Int32Column) -> TableT:
    """The given rows of a table."""
    return type(table)(*(getattr(table, name)[rows] for name in table.__slots__))
