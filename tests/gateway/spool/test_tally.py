"""Tallies: counts by destination and entry."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.spool.tally import ACCEPTED, DAMAGED, RECEIVED, STORED, Tally, reason_of, rejected_for

COUNTS = st.lists(
    st.tuples(
        st.sampled_from(["default", "finance"]),
        st.sampled_from([RECEIVED, ACCEPTED, STORED, rejected_for("invalid")]),
        st.integers(0, 1 << 50),
    )
)


def tally_of(counts: list[tuple[str, str, int]]) -> Tally:
    """All of these, counted."""
    tally = Tally()
    for destination, entry, count in counts:
        tally.add(destination, entry, count)
    return tally


@given(COUNTS, COUNTS)
def test_nothing_is_lost_on_the_way_to_json_and_in_sums(first: list[tuple[str, str, int]], second: list) -> None:
    """A tally comes back from JSON as it was, and the sum of two has every count of both."""
    tally = tally_of(first)
    assert Tally.load(orjson.loads(orjson.dumps(tally.dump()))).dump() == tally.dump()
    tally.update(tally_of(second))
    for entry in (RECEIVED, ACCEPTED, STORED):
        assert tally.total(entry) == sum(count for _, each, count in first + second if each == entry)


def test_what_is_not_settled_is_in_the_spool() -> None:
    """Accepted spans are in the spool until they are stored, dead-lettered or known to be damaged."""
    tally = tally_of([("a", ACCEPTED, 10), ("a", STORED, 6), ("a", DAMAGED, 1), ("b", ACCEPTED, 2)])
    assert (tally.in_spool("a"), tally.in_spool("b"), tally.in_spool("c")) == (3, 2, 0)
    assert tally.destinations() == ["a", "b"]


def test_rejections_keep_their_reason() -> None:
    """Rejected spans are counted by reason, and together."""
    tally = tally_of([("a", rejected_for("invalid"), 2), ("a", rejected_for("spool"), 3), ("a", ACCEPTED, 1)])
    assert tally.rejected("a") == 5
    assert sorted(reason_of(entry) or "" for _, entry, _ in tally) == ["", "invalid", "spool"]


@pytest.mark.parametrize("document", [[], {"a": 1}, {"a": {"stored": "many"}}, None])
def test_what_is_no_tally_is_an_error(document: object) -> None:
    """Data of another shape is refused with an error that callers know."""
    with pytest.raises((TypeError, ValueError, AttributeError)):
        Tally.load(document)  # type: ignore[arg-type]
