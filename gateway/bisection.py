"""Inserts rows that ClickHouse may refuse for good: halves them until only the bad ones are left over.

What is sent has a token that depends on nothing but the unit and the rows' places in it, so that after a crash the same
halves are sent again, and recognised.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otlp.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

MOST_IN_A_ROW: Final = 1000
"""After so many refused inserts, and none that was taken between them, what else is refused is not halved any more.

Then hundreds of neighbours were bad, so it is not some rows of the unit: all are, or nearly all.
"""


@dataclass(frozen=True, slots=True)
class Refused:
    """Rows `start` to `stop` of a unit, which ClickHouse refuses, and why."""

    start: int
    stop: int
    error: PermanentError


def insert_all_but_bad(rows: pa.Table, token: str, insert: Callable[[pa.Table, str], None]) -> list[Refused]:
    """Insert rows under a token; what of them is refused for good.

    Raises whatever `insert` raises but for PermanentError; then some rows may be stored, and all are to be sent again.
    """
    refused: list[Refused] = []
    in_a_row = 0
    waiting = [(0, rows.num_rows, False)]
    while waiting:
        start, stop, is_second_try = waiting.pop()
        is_whole = (start, stop) == (0, rows.num_rows)
        try:
            insert(rows.slice(start, stop - start), token if is_whole else _token_of_part(token, start, stop))
        except PermanentError as error:
            in_a_row += 1
            if in_a_row > MOST_IN_A_ROW or is_second_try:
                refused.append(Refused(start, stop, error))
            elif stop - start == 1:
                # What was damaged on its way is refused like a bad row: none is given up for one answer.
                waiting.append((start, stop, True))
            else:
                middle = (start + stop) // 2
                waiting += [(middle, stop, False), (start, middle, False)]
        else:
            in_a_row = 0
    return refused


def _token_of_part(token: str, start: int, stop: int) -> str:
    return hashlib.sha256(f"{token}/{start}-{stop}".encode()).hexdigest()
