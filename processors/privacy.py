"""Privacy: drops prompt and completion content for destinations whose privacy mode asks for it.

It stands first in the chain, so that nothing after it (spool, logs, metrics) ever holds what it removes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from config import Model
from otlp.content import MAY_QUOTE_CONTENT, MAY_QUOTE_CONTENT_IN_EVENT

if TYPE_CHECKING:
    from otlp.attributes import Attributes
    from otlp.batch import SpanBatch
    from otlp.content import KeyRule
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
        spans=replace(batch.spans, status_message=np.where(spans, "", batch.spans.status_message)),
        resource_attributes=_drop(batch.resource_attributes, resources, MAY_QUOTE_CONTENT),
        scope_attributes=_drop(batch.scope_attributes, resources[batch.scopes.resource], MAY_QUOTE_CONTENT),
        span_attributes=_drop(batch.span_attributes, spans, MAY_QUOTE_CONTENT),
        event_attributes=_drop(batch.event_attributes, spans[batch.events.span], MAY_QUOTE_CONTENT_IN_EVENT),
        link_attributes=_drop(batch.link_attributes, spans[batch.links.span], MAY_QUOTE_CONTENT),
    )


def _drop(attributes: Attributes, owners: BoolColumn, rule: KeyRule) -> Attributes:
    if not len(attributes):
        return attributes
    return attributes.keep(~(attributes.where(rule) & owners[attributes.owner]))
