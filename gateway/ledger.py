"""The ledger of a spool: what became of every span it accepted, by destination, over all runs.

`received = accepted + rejected` and `accepted = stored + dead_lettered + damaged + in the spool`, in receipts: a span
that arrives twice counts twice. What is settled stands in the file `ledger.json` beside the segments; what is not, in
the segments themselves.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from gateway.spool.durable import write_durably
from gateway.spool.segment import read_tally
from gateway.spool.spool import State
from gateway.spool.tally import ACCEPTED, DAMAGED, RECEIVED, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

log = structlog.get_logger()

_FILE: Final = "ledger.json"


class DamagedLedgerError(Exception):
    """The file of what is settled cannot be read; the message names it."""


class Ledger:
    """Counts what a spool accepts and what becomes of it; safe to use from several threads.

    `on_change` is told every change, at first with everything that is known at the start.
    """

    def __init__(self, directory: Path, on_change: Callable[[Tally], None]) -> None:
        """`directory` is the spool's, whose segments nothing changes yet."""
        self._path = directory / _FILE
        self._on_change = on_change
        self._lock = threading.Lock()
        try:
            self._totals, self._segments = _load(self._path)
        except DamagedLedgerError as error:
            aside = self._path.with_suffix(".damaged")
            log.error("the ledger cannot be read and begins anew", error=str(error), set_aside=str(aside))
            self._path.rename(aside)
            self._totals, self._segments = Tally(), set()
        self._found = _unsettled(directory, self._segments)
        on_change(self._totals)
        for tally in self._found.values():
            on_change(tally)

    def took(self, tally: Tally) -> None:
        """Count what was accepted and rejected; it stands in the open segment, or will with the next batch."""
        self._on_change(tally)

    def settle(self, path: Path, known: Tally, settled: Tally) -> None:
        """Note durably that a segment is done with; once, however often it is called for the segment.

        `known` is what the segment says of itself, `settled` what of its rows is stored or in the dead letters.
        """
        with self._lock:
            if path.stem in self._segments:
                return
            # What was told of the segment at the start may since have become unreadable: it is damaged, not unheard of.
            told = Tally.together(known)
            told.raise_to(self._found.pop(path.stem, Tally()))
            change, news = _balanced(told, settled)
            totals = Tally.together(self._totals, change)
            # A segment whose file is gone is never settled again.
            segments = [name for name in self._segments if _exists(self._path.parent, name)] + [path.stem]
            document = {"version": 1, "totals": totals.dump(), "settled": segments}
            write_durably(self._path, orjson.dumps(document, option=orjson.OPT_INDENT_2))
            self._totals, self._segments = totals, set(segments)
        self._on_change(news)


def read_ledger(directories: Iterable[Path]) -> Tally:
    """The ledger of several spools, whether a gateway is running on them or not; DamagedLedgerError."""
    return Tally.together(*(part for directory in directories for part in _read_steadily(directory)))


def _read_steadily(directory: Path) -> list[Tally]:
    """What is settled and what is not; read again if a segment was settled meanwhile."""
    while True:
        totals, segments = _load(directory / _FILE)
        waiting = _unsettled(directory, segments)
        if _load(directory / _FILE)[1] == segments:
            return [totals, *waiting.values()]


def _load(path: Path) -> tuple[Tally, set[str]]:
    try:
        document = orjson.loads(path.read_bytes())
        return Tally.load(document["totals"]), set(document["settled"])
    except FileNotFoundError:
        return Tally(), set()
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedLedgerError(f"{path} is not a ledger") from error


def _unsettled(directory: Path, settled: set[str]) -> dict[str, Tally]:
    """What segments that are not settled say of themselves."""
    found: dict[str, Tally] = {}
    for state in (State.OPEN, State.SEALED):
        for path in directory.glob(f"*.{state}"):
            if path.stem not in settled and path.stem not in found:
                with contextlib.suppress(FileNotFoundError):  # it was renamed a moment ago
                    found[path.stem] = read_tally(path)
    return found


def _exists(directory: Path, segment: str) -> bool:
    return any((directory / f"{segment}.{state}").exists() for state in (State.SEALED, State.STORED))


def _balanced(known: Tally, settled: Tally) -> tuple[Tally, Tally]:
    """All entries of a segment, and those of them that it did not say itself. What of it cannot be read is damaged."""
    news = Tally.together(settled)
    for destination in sorted({*known.destinations(), *settled.destinations()}):
        rows = settled.settled(destination)
        accepted = known.of(destination, ACCEPTED)
        news.add(destination, DAMAGED, max(0, accepted - rows))
        news.add(destination, ACCEPTED, max(0, rows - accepted))
        unheard = max(accepted, rows) + known.rejected(destination) - known.of(destination, RECEIVED)
        news.add(destination, RECEIVED, max(0, unheard))
    return Tally.together(known, news), news
