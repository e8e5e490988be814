"""The attribute table: values as text, selection by key and by owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from otlp.content import IS_CONTENT
from tests.otlp.messages import attributes, batch_of, document, listed, span, values

if TYPE_CHECKING:
    from otlp.attributes import Attributes


def _three_spans() -> Attributes:
    return batch_of(
        document(
            span(attributes=attributes({"gen_ai.prompt": "hello", "n": 1})),
            span(),
            span(attributes=attributes({"n": 2, "gen_ai.completion": "bye", "flag": True})),
        )
    ).span_attributes


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("text", "text"),
        (-7, "-7"),
        (2**63 - 1, "9223372036854775807"),
        (0.1, "0.1"),
        (51.0, "51"),
        (1e-06, "1e-06"),
        (1e22, "1e+22"),
        (-0.0, "-0"),
        (True, "true"),
        (False, "false"),
        ([1, "a"], '{"arrayValue":{"values":[{"intValue":"1"},{"stringValue":"a"}]}}'),
        ({}, "{}"),
    ],
)
def test_text_is_the_shortest_that_says_the_value(value: object, text: str) -> None:
    """Numbers are written in their shortest form, booleans as in JSON, and everything else as OTLP/JSON."""
    table = batch_of(document(span(attributes=attributes({"k": value, "other": "x"})))).span_attributes
    assert values(table.text(np.array([0], np.int32))) == [text]


def test_text_takes_any_rows_in_any_order() -> None:
    """Texts come in the order of the rows asked for, repeated if asked for twice, and none for none."""
    table = _three_spans()
    assert values(table.text(np.array([4, 0, 1, 0], np.int32))) == ["true", "hello", "1", "hello"]
    assert values(table.text(np.array([], np.int32))) == []


def test_attributes_lie_in_the_order_of_their_owners() -> None:
    """Attributes keep the sender's order within an owner, and owners ascend."""
    assert [(owner, key) for owner, key, _, _ in listed(_three_spans())] == [
        (0, "gen_ai.prompt"),
        (0, "n"),
        (2, "n"),
        (2, "gen_ai.completion"),
        (2, "flag"),
    ]


def test_keep_leaves_out_the_others() -> None:
    """A selection by key leaves exactly the attributes chosen, with their values."""
    table = _three_spans()
    kept = table.keep(~table.where(IS_CONTENT))
    assert listed(kept) == [(0, "n", "INT", "1"), (2, "n", "INT", "2"), (2, "flag", "BOOL", "true")]
    assert len(kept) == 3


def test_owners_are_renumbered() -> None:
    """The attributes of chosen owners follow those owners to their new rows."""
    table = _three_spans()
    assert [(owner, key) for owner, key, _, _ in listed(table.of_owners(np.array([1, 2], np.int32), 3))] == [
        (1, "n"),
        (1, "gen_ai.completion"),
        (1, "flag"),
    ]
