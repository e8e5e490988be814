"""Privacy: drops prompt and completion content for destinations whose privacy mode asks for it.

It stands first in the chain, so that nothing after it (spool, logs, metrics) ever holds what it removes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from config import Model
from otlp.content import may_quote_content, may_quote_content_in_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from otlp.attributes import Attributes
    from otlp.batch import SpanBatch
    from otlp.types import BoolColumn
    from processors.base import Context, Processor


class PrivacySettings(Model):
    """Privacy has no settings of its own: each destination says what it wants, under `destinations`."""


def create(_: PrivacySettings) -> Processor:
    """The privacy step."""
    return redact


def redact(batch: SpanBatch, context: Context) -> SpanBatch:
    """Drop every attribute that holds content, and error texts that may quote it, where the destination says so."""
    private = [context.destinations[request.destination].privacy.mode == "content" for request in batch.requests]
    if not any(private):
        return batch
    spans = batch.of_spans(private)
    resources = batch.of_resources(private)
    return replace(
        batch,
        spans=replace(batch.spans, status_message=_blank(batch.spans.status_message, spans)),
        resource_attributes=_drop(batch.resource_attributes, resources, may_quote_content),
        scope_attributes=_drop(batch.scope_attributes, resources[batch.scopes.resource], may_quote_content),
        span_attributes=_drop(batch.span_attributes, spans, may_quote_content),
        event_attributes=_drop(batch.event_attributes, spans[batch.events.span], may_quote_content_in_event),
        link_attributes=_drop(batch.link_attributes, spans[batch.links.span], may_quote_content),
    )


def _drop(attributes: Attributes, owners: BoolColumn, rule: Callable[[str], bool]) -> Attributes:
    if not len(attributes):
        return attributes
    return attributes.keep(~(attributes.where(rule) & owners[attributes.owner]))


def _blank(texts: pa.StringArray, mask: BoolColumn) -> pa.StringArray:
    return pa.array(["" if blank else text for text, blank in zip(texts.to_pylist(), mask, strict=True)], pa.string())
