"""Tells from an API key whose request it is. Only hashes of keys are held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.keys import hash_key

if TYPE_CHECKING:
    from collections.abc import Mapping

_BEARER = "bearer "


class UnauthenticatedError(Exception):
    """The request has no key, or one that is not valid; the message tells its sender what to do."""


class Authenticator:
    """Looks keys up by their hash: those from the settings, and those made at run time."""

    def __init__(self, configured: Mapping[bytes, str]) -> None:
        """`configured` has the hashes of the settings' keys and their destinations."""
        self._configured = dict(configured)
        self._destinations = dict(configured)

    def update(self, made_at_run_time: Mapping[bytes, str]) -> None:
        """Replace the keys made at run time."""
        self._destinations = {**made_at_run_time, **self._configured}

    @property
    def is_empty(self) -> bool:
        """Whether there is no key at all."""
        return not self._destinations

    def authenticate(self, authorization: str | None, x_api_key: str | None) -> str:
        """The destination of a request with these headers; UnauthenticatedError if its key is missing or unknown."""
        key = x_api_key
        if not key and authorization is not None:
            key = authorization[len(_BEARER) :] if authorization[: len(_BEARER)].lower() == _BEARER else authorization
        if not key or key.lower() == _BEARER.strip():
            raise UnauthenticatedError(
                "The request has no API key: send it as 'Authorization: Bearer <key>' or 'x-api-key: <key>'."
            )
        destination = self._destinations.get(hash_key(key.strip()))
        if destination is None:
            raise UnauthenticatedError(
                "The API key is not valid here: it is mistyped, expired or revoked. "
                "Ask the operator for another one (tollgate keys create)."
            )
        return destination
