"""Counts of spans by destination and by what became of them: the entries of the ledger.

What became of them is one of `received`, `accepted`, `rejected:<reason>`, `stored`, `dead_lettered` and `damaged`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECEIVED: Final = "received"
ACCEPTED: Final = "accepted"
STORED: Final = "stored"
DEAD_LETTERED: Final = "dead_lettered"
DAMAGED: Final = "damaged"
SETTLED: Final = (STORED, DEAD_LETTERED, DAMAGED)
"""What becomes of accepted spans in the end."""
_REJECTED: Final = "rejected:"


def rejected_for(reason: str) -> str:
    """The entry of spans that were rejected for a reason."""
    return f"{_REJECTED}{reason}"


def reason_of(entry: str) -> str | None:
    """The reason of an entry of rejected spans, None for any other."""
    return entry.removeprefix(_REJECTED) if entry.startswith(_REJECTED) else None


class Tally:
    """Numbers of spans by destination and entry; those that are not there are 0."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    @classmethod
    def load(cls, document: Mapping[str, Mapping[str, int]]) -> Self:
        """What `dump` gave; TypeError, ValueError or AttributeError if it is not that."""
        tally = cls()
        for destination, entries in document.items():
            for entry, count in entries.items():
                tally.add(destination, entry, int(count))
        return tally

    @classmethod
    def together(cls, *tallies: Tally) -> Self:
        """What all of these have counted."""
        sum_of_all = cls()
        for tally in tallies:
            sum_of_all.update(tally)
        return sum_of_all

    def dump(self) -> dict[str, dict[str, int]]:
        """As data for JSON: counts by destination, then by entry."""
        document: dict[str, dict[str, int]] = {}
        for destination, entry, count in self:
            document.setdefault(destination, {})[entry] = count
        return document

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        for (destination, entry), count in self._counts.items():
            yield destination, entry, count

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, destination: str, entry: str, count: int) -> None:
        """Count some more."""
        if count:
            self._counts[destination, entry] += count

    def update(self, other: Tally) -> None:
        """Count all that the other has counted."""
        self._counts.update(other._counts)

    def raise_to(self, other: Tally) -> None:
        """Have each number at least as large as the other's."""
        self._counts |= other._counts

    def of(self, destination: str, entry: str) -> int:
        """One number."""
        return self._counts[destination, entry]

    def total(self, entry: str) -> int:
        """The number over all destinations."""
        return sum(count for _, each, count in self if each == entry)

    def destinations(self) -> list[str]:
        """All destinations of which anything is counted, in order."""
        return sorted({destination for destination, _, _ in self})

    def rejected(self, destination: str) -> int:
        """How many spans were rejected, for whatever reason."""
        return sum(count for each, entry, count in self if each == destination and reason_of(entry) is not None)

    def settled(self, destination: str) -> int:
        """How many are stored, dead-lettered or damaged."""
        return sum(self.of(destination, entry) for entry in SETTLED)

    def in_spool(self, destination: str) -> int:
        """How many were accepted and are not settled yet."""
        return self.of(destination, ACCEPTED) - self.settled(destination)
