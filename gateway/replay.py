"""Replays dead letters: inserts once more what a person has asked for, after mending why ClickHouse refused it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import pyarrow as pa
import structlog

from gateway.dead_letters import UnreadableError
from otlp.errors import PermanentError, RetryableError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from gateway.dead_letters import DeadLetters
    from gateway.telemetry.metrics import Metrics

log = structlog.get_logger()

_INTERVAL: Final = 1.0


class Inserter(Protocol):
    """What a replay needs of an exporter; blocking, called from one thread."""

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert rows; RetryableError or PermanentError if that is not confirmed."""


class Replay:
    """Looks for dead letters that wait to be replayed, and inserts them in `worker`, the exporter's one thread."""

    def __init__(self, dead_letters: DeadLetters, exporter: Inserter, metrics: Metrics, worker: Executor) -> None:
        self._dead_letters = dead_letters
        self._exporter = exporter
        self._metrics = metrics
        self._worker = worker

    async def run(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            try:
                await asyncio.get_running_loop().run_in_executor(self._worker, self.replay)
            except (OSError, RetryableError) as error:
                log.warning("dead letters cannot be replayed now; this is tried again", error=str(error))

    def replay(self) -> None:
        """Insert all that wait; RetryableError if ClickHouse does not confirm one, which waits on."""
        for letter in self._dead_letters.to_replay():
            try:
                self._exporter.insert(letter.table, self._dead_letters.rows(letter), letter.token)
            except FileNotFoundError:
                continue  # dropped a moment ago
            except PermanentError as error:
                log.error("ClickHouse refuses replayed rows too", letter=letter.name, error=str(error))
                self._dead_letters.refused_again(letter, error)
            except (UnreadableError, KeyError, pa.ArrowInvalid) as error:
                log.error("dead letters cannot be replayed: their rows are damaged or not of this version's tables")
                unfit = PermanentError(f"It cannot be replayed: {error}", reason="unreadable")
                self._dead_letters.refused_again(letter, unfit)
            else:
                log.info("dead letters are replayed", letter=letter.name, table=letter.table, rows=letter.rows)
                self._metrics.replayed.labels(letter.table).inc(letter.rows)
                self._dead_letters.drop(letter)
