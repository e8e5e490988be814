"""Sessions: what `session_id` keeps from one request to the next, as ClickHouse's HTTP interface has it.

A session remembers its database and the settings of its SET statements. Temporary tables live in a connection of the
engine's, which a session holds unless it is a reader's: a reader makes none, and its connections are used only once.

https://clickhouse.com/docs/interfaces/http
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from exporters.clickhouse.embedded.errors import (
    INVALID_SESSION_TIMEOUT,
    SESSION_IS_LOCKED,
    SESSION_NOT_FOUND,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    ClickHouseError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_TIMEOUT: Final = 60.0
LONGEST_TIMEOUT: Final = 3600.0
_MOST: Final = 200  # of one user


@dataclass(slots=True)
class Session:
    """One session; `connection` is the engine's, once it is opened. `is_busy` while a request uses it."""

    key: tuple[str, str]
    timeout: float
    expires: float = 0.0
    is_busy: bool = False
    database: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    connection: Any = None


class Sessions:
    """All sessions; for use on the event loop. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sessions: dict[tuple[str, str], Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def acquire(self, user: str, parameters: Mapping[str, str]) -> Session | None:
        """The session that a request names, for this request alone; None if it names none. Raises ClickHouseError."""
        name = parameters.get("session_id")
        if not name:
            return None
        timeout = _timeout(parameters.get("session_timeout"))
        key = (user, name)
        session = self._sessions.get(key)
        if session is None:
            if parameters.get("session_check") in {"1", "true"}:
                raise ClickHouseError(SESSION_NOT_FOUND, f"Session {name[:60]} not found")
            if sum(owner == user for owner, _ in self._sessions) >= _MOST:
                raise ClickHouseError(
                    TOO_MANY_SIMULTANEOUS_QUERIES,
                    f"Too many sessions for user {user}. Maximum: {_MOST}. "
                    "Close some with close_session=1, or wait until they end",
                )
            session = self._sessions[key] = Session(key, timeout)
        elif session.is_busy:
            raise ClickHouseError(SESSION_IS_LOCKED, f"Session {name[:60]} is locked by a concurrent client")
        session.timeout = timeout
        session.is_busy = True
        return session

    def release(self, session: Session, *, close: bool) -> Any:
        """Give a session free again; the connection that is to be closed, if it is closed with it."""
        session.is_busy = False
        session.expires = self._clock() + session.timeout
        return self._forget(session) if close else None

    def expired(self) -> list[Any]:
        """Forget the sessions whose time is over; their connections are to be closed."""
        now = self._clock()
        over = [session for session in self._sessions.values() if not session.is_busy and session.expires <= now]
        return [connection for session in over if (connection := self._forget(session)) is not None]

    def _forget(self, session: Session) -> Any:
        del self._sessions[session.key]
        connection, session.connection = session.connection, None
        return connection


def _timeout(text: str | None) -> float:
    if text is None:
        return DEFAULT_TIMEOUT
    if not text.isdecimal() or float(text) > LONGEST_TIMEOUT:
        raise ClickHouseError(
            INVALID_SESSION_TIMEOUT, f"session_timeout must be whole seconds, {LONGEST_TIMEOUT:g} at most"
        )
    return float(text)
