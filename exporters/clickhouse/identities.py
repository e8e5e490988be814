"""The identities of spans, and whether ClickHouse has them: what a check of the spool against `spans` compares."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeAlias

from exporters.clickhouse.client import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from exporters.clickhouse.client import Client

Identity: TypeAlias = tuple[str, int, str, str]
"""Destination, start (nanoseconds since 1970, UTC), trace id and span id (hex)."""

_AT_ONCE: Final = 1000


def identities(rows: pa.Table) -> set[Identity]:
    """The distinct identities of rows that have the columns of `spans_data`."""
    times = rows["Timestamp"].to_numpy().view("int64").tolist()
    others = (rows[name].to_pylist() for name in ("Destination", "TraceId", "SpanId"))
    return {(destination, time, trace, span) for time, destination, trace, span in zip(times, *others, strict=True)}


def count_stored(client: Client, database: str, wanted: Iterable[Identity]) -> Counter[Identity]:
    """How often each of these identities is in `spans`; RetryableError if ClickHouse does not answer."""
    found: Counter[Identity] = Counter()
    for destination, group in groupby(sorted(wanted), key=lambda identity: identity[0]):
        asked = list(group)
        for begin in range(0, len(asked), _AT_ONCE):
            some = asked[begin : begin + _AT_ONCE]
            first, last = some[0][1], some[-1][1]
            # Parameters go into the URL, where so many would not fit; ids are hex digits.
            traces = ", ".join(f"'{trace}'" for trace in sorted({trace for _, _, trace, _ in some}))
            rows = client.query(
                "SELECT toUnixTimestamp64Nano(Timestamp) AS Time, TraceId, SpanId, count() AS Copies "  # noqa: S608
                f"FROM {quote(database)}.spans WHERE Destination = {{destination:String}} "
                f"AND Timestamp BETWEEN fromUnixTimestamp64Nano({first}) AND fromUnixTimestamp64Nano({last}) "
                f"AND TraceId IN ({traces}) GROUP BY ALL",
                {"destination": destination},
            )
            found.update({(destination, row["Time"], row["TraceId"], row["SpanId"]): row["Copies"] for row in rows})
    return found
