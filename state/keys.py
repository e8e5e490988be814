"""API keys made at run time: created, listed, revoked, and looked up by hash when a sender shows one.

A key is shown once, to the person who creates it; only its hash is kept.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from state.tables import api_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import ColumnElement, Engine, Row

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY_BYTES = 32
_KEY_DIGITS = 43  # 62 ** 43 > 2 ** 256, so every key has the same length
_ID_BYTES = 5  # 8 base32 characters
_ID_ATTEMPTS = 5
_COLUMNS = tuple(column for column in api_keys.c if column.name != "hash")


class KeyNotFoundError(LookupError):
    """No key has the given id; the message says how to find it."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key: everything but the key. Times are aware, in UTC."""

    id: str
    destination: str
    label: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


ApiKeys: TypeAlias = list[ApiKey]  # inside KeyStore, `list` is its method


def hash_key(key: str) -> bytes:
    """The SHA-256 digest by which a key is looked up.

    A slow hash would protect nothing: the stored keys are 256 random bits, which nobody can guess. Keys that a user
    chose in the settings pass here too, but their hashes stay in memory, beside the settings that hold the keys.
    """
    # A header may hold any bytes, which arrive as surrogates: an unknown key, not a crash.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class KeyStore:
    """The keys in the state database. Every method is one short transaction, safe under threads and processes."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], datetime],
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._token_bytes = token_bytes

    def create(self, destination: str, label: str = "", expires_at: datetime | None = None) -> tuple[ApiKey, str]:
        """Make a key for `destination`; return what is known of it, and the key itself for the only time.

        ValueError if the label is not one line of at most 200 characters, or the expiry has no zone or is past.
        """
        now = self._clock().astimezone(UTC)
        if len(label) > 200 or not label.isprintable():
            raise ValueError("a label is one line of at most 200 printable characters; shorten it")
        if expires_at is not None:
            if expires_at.tzinfo is None:
                raise ValueError("the expiry has no time zone; add one, such as +00:00")
            expires_at = expires_at.astimezone(UTC)
            if expires_at <= now:
                raise ValueError(f"the expiry {expires_at.isoformat()} is already past; choose a later one")
        key = _format_key(self._token_bytes(_KEY_BYTES))
        for attempt in range(1, _ID_ATTEMPTS + 1):
            made = ApiKey(_format_id(self._token_bytes(_ID_BYTES)), destination, label, key[:8], now, expires_at, None)
            try:
                with self._engine.begin() as connection:
                    connection.execute(insert(api_keys).values(hash=hash_key(key), **_as_row(made)))
            except IntegrityError:
                if attempt == _ID_ATTEMPTS:
                    raise
            else:
                return made, key
        raise AssertionError  # the loop returns or raises

    def list(self, destination: str | None = None) -> ApiKeys:
        """All keys, revoked and expired ones included, oldest first; those of one destination if it is given."""
        query = select(*_COLUMNS).order_by(api_keys.c.created_at, api_keys.c.id)
        if destination is not None:
            query = query.where(api_keys.c.destination == destination)
        with self._engine.connect() as connection:
            return [_from_row(row) for row in connection.execute(query)]

    def revoke(self, key_id: str) -> ApiKey:
        """End a key for good; revoking it again changes nothing. KeyNotFoundError if no key has this id."""
        with self._engine.begin() as connection:
            connection.execute(
                update(api_keys)
                .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=self._clock())
            )
            row = connection.execute(select(*_COLUMNS).where(api_keys.c.id == key_id)).one_or_none()
        if row is None:
            raise KeyNotFoundError(_not_found(key_id))
        return _from_row(row)

    def active_hashes(self) -> dict[bytes, str]:
        """SHA-256 digest → destination, for every key that is neither revoked nor expired at this moment."""
        query = select(api_keys.c.hash, api_keys.c.destination).where(_is_active(self._clock()))
        with self._engine.connect() as connection:
            return {bytes(digest): destination for digest, destination in connection.execute(query)}


def _is_active(now: datetime) -> ColumnElement[bool]:
    not_expired = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    return api_keys.c.revoked_at.is_(None) & not_expired


def _format_key(random: bytes) -> str:
    number, digits = int.from_bytes(random, "big"), ""
    for _ in range(_KEY_DIGITS):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return f"tg_{digits}"


def _format_id(random: bytes) -> str:
    return f"key_{base64.b32encode(random).decode().lower()}"


def _as_row(key: ApiKey) -> dict[str, object]:
    return {column.name: getattr(key, column.name) for column in _COLUMNS}


def _from_row(row: Row[tuple[object, ...]]) -> ApiKey:
    return ApiKey(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping


def _not_found(key_id: str) -> str:
    if key_id.startswith("tg_"):  # do not repeat it: it is the secret
        return "this is a key, not the id of one; `tollgate keys list` shows the ids, which begin with key_"
    return f'no key has the id "{key_id}"; `tollgate keys list` shows the ids'
