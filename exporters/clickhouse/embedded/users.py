"""Who may use the embedded ClickHouse: users with a role, a password and limits, and how a request says who it is.

The engine has one user; a user here becomes one of the engine's roles for a query (`roles.py`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from exporters.clickhouse.embedded.errors import AUTHENTICATION_FAILED, REQUIRED_PASSWORD, ClickHouseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_USER: Final = "default"
OWN_PREFIX: Final = "tollgate"
"""What the names of the gateway's own users begin with, and no other's."""
_USER_HEADER: Final = "X-ClickHouse-User"
_KEY_HEADER: Final = "X-ClickHouse-Key"


class Role(StrEnum):
    """What a user may do.

    A reader reads. A writer also inserts, and makes temporary tables. An admin does all that ClickHouse's server would
    let its default user do over HTTP.
    """

    READER = "reader"
    WRITER = "writer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query may use, by the names of ClickHouse's settings; 0 is no limit.

    Bytes of memory, seconds, rows and bytes of the result; `max_concurrent_queries` is the user's at one time.
    """

    max_memory_usage: int = 0
    max_execution_time: float = 0.0
    max_result_rows: int = 0
    max_result_bytes: int = 0
    max_concurrent_queries: int = 0

    def settings(self) -> dict[str, float]:
        """The limits that the engine itself enforces, by setting."""
        return {name: value for name, value in asdict(self).items() if value and name != "max_concurrent_queries"}


@dataclass(frozen=True, slots=True)
class User:
    """A user; `password_sha256_hex` is empty where no password is asked."""

    name: str
    role: Role
    password_sha256_hex: str = ""
    limits: Limits = Limits()

    @property
    def is_own(self) -> bool:
        """Whether this is the gateway itself."""
        return self.name.startswith(OWN_PREFIX)

    @property
    def has_password(self) -> bool:
        """Whether this user must say a password."""
        return bool(self.password_sha256_hex)

    def accepts(self, password: str) -> bool:
        """Whether it is this user's password, in a time that tells nothing of it."""
        if not self.has_password:
            return not password
        return hmac.compare_digest(hash_password(password), self.password_sha256_hex)


def hash_password(password: str) -> str:
    """The SHA-256 of a password in hex, as ClickHouse's `password_sha256_hex`."""
    return hashlib.sha256(password.encode(errors="surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class Credentials:
    """The name and password of a request."""

    name: str
    password: str

    @classmethod
    def of(cls, headers: Mapping[str, str], parameters: Mapping[str, str]) -> Self:
        """Read them from the headers, Basic authorization or the URL; raises ClickHouseError where ways are mixed."""
        in_headers = _USER_HEADER in headers or _KEY_HEADER in headers
        authorization = headers.get("Authorization", "")
        in_url = "user" in parameters or "password" in parameters
        if in_headers + bool(authorization) + in_url > 1:
            raise ClickHouseError(
                AUTHENTICATION_FAILED,
                "Invalid authentication: use one of X-ClickHouse-User and X-ClickHouse-Key, the Authorization header, "
                "and the URL parameters user and password, not several of them",
            )
        if in_headers:
            return cls(headers.get(_USER_HEADER) or DEFAULT_USER, headers.get(_KEY_HEADER, ""))
        if authorization:
            return cls._of_basic(authorization)
        return cls(parameters.get("user") or DEFAULT_USER, parameters.get("password", ""))

    @classmethod
    def _of_basic(cls, authorization: str) -> Self:
        scheme, _, encoded = authorization.partition(" ")
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (ValueError, binascii.Error):
            scheme = ""
        if scheme.lower() != "basic":
            raise ClickHouseError(
                AUTHENTICATION_FAILED, "Invalid authentication: the Authorization header must be Basic, in base64"
            )
        return cls(name or DEFAULT_USER, password)


class Users:
    """All users of one server."""

    def __init__(self, users: Iterable[User]) -> None:
        self._users = {user.name: user for user in users}

    @property
    def without_password(self) -> list[str]:
        """The names of those who need no password."""
        return [user.name for user in self._users.values() if not user.has_password]

    def authenticate(self, credentials: Credentials, headers: Mapping[str, str]) -> User:
        """The user of a request with these headers; raises ClickHouseError."""
        user = self._users.get(credentials.name)
        if user is None or not user.accepts(credentials.password):
            if user is not None and not credentials.password:
                raise ClickHouseError(
                    REQUIRED_PASSWORD, f"{credentials.name[:60]}: Authentication failed: a password is required"
                )
            raise ClickHouseError(
                AUTHENTICATION_FAILED,
                f"{credentials.name[:60]}: Authentication failed: password is incorrect, or there is no user with "
                "such name",
            )
        if not user.has_password:
            _refuse_web_pages(user, headers)
        return user

    def dump(self) -> str:
        """One line that `load` reads."""
        return json.dumps([asdict(user) for user in self._users.values()])

    @classmethod
    def load(cls, line: str) -> Self:
        """Read what `dump` wrote."""
        return cls(
            User(each["name"], Role(each["role"]), each["password_sha256_hex"], Limits(**each["limits"]))
            for each in json.loads(line)
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_web_pages(user: User, headers: Mapping[str, str]) -> None:
    """Raise ClickHouseError where a page of a web site may be asking, by way of a browser on this machine.

    A page can make its own host name lead here, or let the browser ask here from its own site.
    """
    host = headers.get("Host", "")
    origin = headers.get("Origin", "")
    if not _names_this_machine(host):
        why = f"requests to localhost or an IP address are answered, not to {host[:60]!r}"
    elif headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"} or (
        origin and urlsplit(origin).netloc != host
    ):
        why = "requests that no other web site's page makes are answered"
    else:
        return
    raise ClickHouseError(
        REQUIRED_PASSWORD, f"{user.name}: Without a password only {why}: set a password for this user"
    )


def _names_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return not host  # HTTP/1.0 has no Host, and browsers do not speak it
