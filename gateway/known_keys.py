"""The API keys that a gateway takes: those of its settings, and those made at run time, read again each second."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

import structlog

from gateway.authentication import Authenticator
from state import KeyStore, hash_key, open_database

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from config import Settings

_REFRESH_EVERY: Final = 1.0

log = structlog.get_logger()


class KnownKeys:
    """An authenticator that is kept up to date with the state database."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._destinations = settings.destinations
        self._store = KeyStore(engine, clock=lambda: datetime.now(UTC))
        self.authenticator = Authenticator(
            {
                hash_key(key.reveal()): name
                for name, destination in settings.destinations.items()
                for key in destination.api_keys
            }
        )
        self.refresh()

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """With the state database of the settings; StateError if it cannot be used."""
        return cls(settings, open_database(settings.service.state_url.reveal()))

    def close(self) -> None:
        """Let the state database go."""
        self._engine.dispose()

    def make_first(self) -> str:
        """A key if there was never one, which nobody will see again; else nothing."""
        if not self.authenticator.is_empty or self._store.list():
            return ""
        _, key = self._store.create(next(iter(self._destinations)), "made at the first start")
        return key

    def refresh(self) -> None:
        """Take over keys that were made or revoked, but for those of destinations that the settings no longer have."""
        active = self._store.active_hashes().items()
        self.authenticator.update({digest: name for digest, name in active if name in self._destinations})

    async def run(self) -> None:
        """Refresh again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_EVERY)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception as error:  # noqa: BLE001 - the keys known so far stay good while the database is away
                log.warning("the state database cannot be read; keys stay as they were", error=str(error))
