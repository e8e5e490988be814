"""How large rows become by what each span gets a copy of: its resource and its scope, with all their attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from otlp.attributes import Attributes
    from otlp.batch import SpanBatch
    from otlp.types import Int64Column, TextColumn

_ENTRY = 32
"""Bytes of an attribute besides its texts: a row has offsets of key and value, and eight bytes for a number."""


def expanded_bytes(batch: SpanBatch) -> Int64Column:
    """About how many bytes these copies take, for each request."""
    scopes, resources = batch.scopes, batch.resources
    per_resource = _lengths(resources.schema_url) + _sizes(batch.resource_attributes, len(resources.request))
    per_scope = sum((_lengths(column) for column in (scopes.name, scopes.version, scopes.schema_url)), start=_NOTHING)
    per_scope = per_scope + _sizes(batch.scope_attributes, len(scopes.name)) + per_resource[scopes.resource]
    sizes = np.bincount(batch.spans.request, per_scope[batch.spans.scope], minlength=len(batch.requests))
    return sizes.astype(np.int64)


_NOTHING: Int64Column = np.zeros(1, np.int64)


def _lengths(texts: TextColumn) -> Int64Column:
    return np.fromiter(map(len, texts), np.int64, len(texts))


def _sizes(attributes: Attributes, owners: int) -> Int64Column:
    """The bytes of each owner's attributes."""
    if not len(attributes):
        return np.zeros(owners, np.int64)
    keys = _lengths(np.array(attributes.keys, np.object_))
    texts = _lengths(attributes.text(np.arange(len(attributes), dtype=np.int32)))
    return np.bincount(attributes.owner, keys[attributes.key] + texts + _ENTRY, minlength=owners).astype(np.int64)
