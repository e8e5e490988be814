"""Collects decoded requests row by row and turns them into a SpanBatch.

The decoders fill these lists directly: a method call for each attribute would cost more than the decoding itself.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from otlp.attributes import Attributes
from otlp.batch import Events, Links, Rejection, Request, Resources, Scopes, SpanBatch, Spans
from otlp.types import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Decoder: TypeAlias = "Callable[[bytes, Request, SpanBatchBuilder], None]"
"""Appends the spans of a request's body to a builder, or raises PermanentError and leaves it as it was."""

_DTYPES: dict[str, type] = {
    "request": np.int32,
    "resource": np.int32,
    "scope": np.int32,
    "span": np.int32,
    "kind": np.uint8,
    "status_code": np.uint8,
    "flags": np.uint32,
    "start": np.int64,
    "end": np.int64,
    "time": np.int64,
    "dropped_attributes": np.uint32,
    "dropped_events": np.uint32,
    "dropped_links": np.uint32,
}


class _Interner(dict[str, int]):
    """Numbers keys in the order in which they are first seen."""

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        return number


_NO_ATTRIBUTES = Attributes(
    [],
    np.empty(0, np.int32),
    np.empty(0, np.int32),
    np.empty(0, np.uint8),
    np.empty(0, np.int32),
    texts([]),
    np.empty(0, np.int64),
    np.empty(0, np.float64),
    np.empty(0, np.bool_),
    texts([]),
)


class AttributeLists:
    """The attributes of one kind of owner while they are collected; a value goes to the list of its type."""

    def __init__(self, key_codes: _Interner) -> None:
        self.key_codes = key_codes
        self.owner: list[int] = []
        self.key: list[int] = []
        self.type: list[int] = []
        self.strings: list[str] = []
        self.ints: list[int] = []
        self.doubles: list[float] = []
        self.bools: list[bool] = []
        self.jsons: list[str] = []

    def own(self, row: int) -> None:
        """Make `row` the owner of all attributes added since the last call."""
        self.owner.extend(repeat(row, len(self.key) - len(self.owner)))

    def lists(self) -> tuple[list[Any], ...]:
        """All lists, to be cut back together."""
        return (self.owner, self.key, self.type, self.strings, self.ints, self.doubles, self.bools, self.jsons)

    def build(self, keys: list[str]) -> Attributes:
        """The collected attributes as columns."""
        if not self.key:
            return replace(_NO_ATTRIBUTES, keys=keys)
        types = np.array(self.type, np.uint8)
        slot = np.empty(len(types), np.int32)
        for value_type, values in enumerate(self.lists()[3:]):
            if values:
                slot[types == value_type] = np.arange(len(values), dtype=np.int32)
        return Attributes(
            keys,
            np.array(self.owner, np.int32),
            np.array(self.key, np.int32),
            types,
            slot,
            texts(self.strings),
            np.array(self.ints, np.int64),
            np.array(self.doubles, np.float64),
            np.array(self.bools, np.bool_),
            texts(self.jsons),
        )


class TableLists:
    """One list a column of a table, in the order of the table's fields."""

    def __init__(self, table: type) -> None:
        self.table = table
        self.names: tuple[str, ...] = table.__slots__  # type: ignore[attr-defined]
        self.columns: tuple[list[Any], ...] = tuple([] for _ in self.names)

    def __len__(self) -> int:
        """The number of rows so far."""
        return len(self.columns[0])

    def add(self, *row: int | str) -> int:
        """Append a row and return its number."""
        for column, value in zip(self.columns, row, strict=True):
            column.append(value)
        return len(self.columns[0]) - 1

    def build(self) -> Any:
        """The collected rows as columns."""
        if not len(self):
            return _empty(self.table)
        return self.table(*(_column(name, values) for name, values in zip(self.names, self.columns, strict=True)))


@cache
def _empty(table: type) -> Any:
    """A table without rows; immutable, so that all batches share it."""
    return table(*(_column(name, []) for name in table.__slots__))  # type: ignore[attr-defined]


def _column(name: str, values: list[Any]) -> np.ndarray:
    return np.array(values, _DTYPES.get(name, np.object_))


class SpanBatchBuilder:
    """Rows of all tables of a batch in the making.

    A request that turns out to be undecodable, or a span that must be refused, is cut off again with `rollback`.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.rejections: list[Rejection] = []
        self.keys = _Interner()
        self.resources = TableLists(Resources)
        self.scopes = TableLists(Scopes)
        self.spans = TableLists(Spans)
        self.events = TableLists(Events)
        self.links = TableLists(Links)
        self.resource_attributes = AttributeLists(self.keys)
        self.scope_attributes = AttributeLists(self.keys)
        self.span_attributes = AttributeLists(self.keys)
        self.event_attributes = AttributeLists(self.keys)
        self.link_attributes = AttributeLists(self.keys)
        self._lists: tuple[list[Any], ...] = tuple(self._all_lists())

    def _all_lists(self) -> Iterable[list[Any]]:
        yield self.requests
        yield self.rejections
        for table in (self.resources, self.scopes, self.spans, self.events, self.links):
            yield from table.columns
        for attributes in (
            self.resource_attributes,
            self.scope_attributes,
            self.span_attributes,
            self.event_attributes,
            self.link_attributes,
        ):
            yield from attributes.lists()

    def mark(self) -> tuple[int, ...]:
        """The present length of every list."""
        return tuple(map(len, self._lists))

    def rollback(self, mark: tuple[int, ...]) -> None:
        """Cut every list back to a mark."""
        for values, length in zip(self._lists, mark, strict=True):
            del values[length:]

    def add_request(self, request: Request) -> int:
        """Append a request and return its row."""
        self.requests.append(request)
        return len(self.requests) - 1

    def reject(self, request: int, reason: str) -> None:
        """Note that a span of the request in row `request` is refused."""
        self.rejections.append(Rejection(request, 1, reason))

    def build(self) -> SpanBatch:
        """The batch; the builder is not used again."""
        keys = list(self.keys)
        return SpanBatch(
            requests=self.requests,
            resources=self.resources.build(),
            scopes=self.scopes.build(),
            spans=self.spans.build(),
            events=self.events.build(),
            links=self.links.build(),
            resource_attributes=self.resource_attributes.build(keys),
            scope_attributes=self.scope_attributes.build(keys),
            span_attributes=self.span_attributes.build(keys),
            event_attributes=self.event_attributes.build(keys),
            link_attributes=self.link_attributes.build(keys),
            rejections=tuple(self.rejections),
        )
