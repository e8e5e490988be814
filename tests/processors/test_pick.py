"""Which of several keys fills a column: the first of its list that the span has and that its sender means so."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.genai_table import COLUMNS, Kind, Sender, Transform
from tests.otlp.messages import attributes, document, span
from tests.processors.chain import openrouter, processed, sdk

STORED = {
    column.name: [key for key in column.keys if not key.of_resource and key.transform is Transform.NONE]
    for column in COLUMNS
    if column.kind in (Kind.TEXT, Kind.COUNT) and column.name[0].isupper()
}
USER_KEYS = ["user.id", "trace.metadata.openrouter.user_id", "enduser.id"]


@settings(deadline=None, max_examples=30)
@given(present=st.lists(st.sampled_from(USER_KEYS), min_size=1, unique=True), order=st.integers(0))
def test_the_first_key_of_the_list_wins(present: list[str], order: int) -> None:
    """The order of a column's keys decides, not the order of the span's attributes."""
    Random(order).shuffle(present)
    [row] = processed(sdk({key: f"from {key}" for key in present}))
    assert row["UserId"] == "from " + min(present, key=USER_KEYS.index)


@pytest.mark.parametrize("name", [name for name, keys in STORED.items() if keys])
@pytest.mark.parametrize("sender", Sender)
def test_each_key_fills_its_column(name: str, sender: Sender) -> None:
    """Every key alone fills its column for the senders that mean it so, and leaves it empty for others."""
    build = openrouter if sender is Sender.BROADCAST else sdk
    kind = next(column.kind for column in COLUMNS if column.name == name)
    value: Any = "a/b" if kind is Kind.TEXT else 7
    rows = processed(*(build({key.name: value}) for key in STORED[name]))
    for row, key in zip(rows, STORED[name], strict=True):
        others_fill = any(
            other.name == key.name and other.sender in (None, sender)
            for column in COLUMNS
            if column.name == name
            for other in column.keys
        )
        assert row[name] == (value if others_fill else "" if kind is Kind.TEXT else None)


def test_a_key_may_fill_several_columns() -> None:
    """The model asked for stands for the model that answered where the latter is unknown."""
    [row] = processed(sdk({"gen_ai.request.model": "m"}))
    assert (row["Model"], row["ModelRequested"]) == ("m", "m")


def test_the_span_is_asked_before_its_resource() -> None:
    """What the span says itself goes before what its resource says, and the resource's better key before its other."""
    resource = {"deployment.environment": "old", "deployment.environment.name": "new"}
    rows = processed(
        sdk({"trace.metadata.environment": "span"}, resource=resource),
        sdk({}, resource=resource),
        sdk({}, resource=dict(reversed(resource.items()))),
        sdk({}, resource={"deployment.environment": "old"}),
    )
    assert [row["Environment"] for row in rows] == ["span", "new", "new", "old"]


def test_spans_share_their_resource() -> None:
    """All spans of a resource have its service, and spans of other resources have theirs."""
    first = document(span(), span(), resource={"attributes": attributes({"service.name": "a"})})
    second = document(span(), resource={"attributes": attributes({"service.name": "b"})})
    rows = processed(first, second, document(span()))
    assert [row["ServiceName"] for row in rows] == ["a", "a", "b", ""]
