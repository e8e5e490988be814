"""ClickHouse's errors: code, name and text as the engine words them, and the HTTP status its server gives them.

Also what keeps the embedded server from starting.

https://github.com/ClickHouse/ClickHouse/blob/master/src/Server/HTTP/exceptionCodeToHTTPStatus.cpp
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Kind(NamedTuple):
    """One of ClickHouse's error codes, with its name."""

    code: int
    name: str


BAD_ARGUMENTS: Final = Kind(36, "BAD_ARGUMENTS")
NOT_IMPLEMENTED: Final = Kind(48, "NOT_IMPLEMENTED")
UNKNOWN_TABLE: Final = Kind(60, "UNKNOWN_TABLE")
SYNTAX_ERROR: Final = Kind(62, "SYNTAX_ERROR")
UNKNOWN_FORMAT: Final = Kind(73, "UNKNOWN_FORMAT")
UNKNOWN_TYPE_OF_QUERY: Final = Kind(78, "UNKNOWN_TYPE_OF_QUERY")
UNKNOWN_SETTING: Final = Kind(115, "UNKNOWN_SETTING")
INCORRECT_DATA: Final = Kind(117, "INCORRECT_DATA")
READONLY: Final = Kind(164, "READONLY")
REQUIRED_PASSWORD: Final = Kind(194, "REQUIRED_PASSWORD")
TOO_MANY_SIMULTANEOUS_QUERIES: Final = Kind(202, "TOO_MANY_SIMULTANEOUS_QUERIES")
SOCKET_TIMEOUT: Final = Kind(209, "SOCKET_TIMEOUT")
QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING: Final = Kind(216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING")
QUERY_IS_TOO_LARGE: Final = Kind(229, "QUERY_IS_TOO_LARGE")
TOO_DEEP_RECURSION: Final = Kind(306, "TOO_DEEP_RECURSION")
INTO_OUTFILE_NOT_ALLOWED: Final = Kind(355, "INTO_OUTFILE_NOT_ALLOWED")
SESSION_NOT_FOUND: Final = Kind(372, "SESSION_NOT_FOUND")
SESSION_IS_LOCKED: Final = Kind(373, "SESSION_IS_LOCKED")
INVALID_SESSION_TIMEOUT: Final = Kind(374, "INVALID_SESSION_TIMEOUT")
SETTING_CONSTRAINT_VIOLATION: Final = Kind(452, "SETTING_CONSTRAINT_VIOLATION")
UNKNOWN_QUERY_PARAMETER: Final = Kind(456, "UNKNOWN_QUERY_PARAMETER")
ACCESS_DENIED: Final = Kind(497, "ACCESS_DENIED")
UNKNOWN_ROLE: Final = Kind(511, "UNKNOWN_ROLE")
AUTHENTICATION_FAILED: Final = Kind(516, "AUTHENTICATION_FAILED")
STD_EXCEPTION: Final = Kind(1001, "STD_EXCEPTION")

_UNAUTHORIZED = {194}
_FORBIDDEN = {192, 193, 497, 512, 516}
_BAD_REQUEST = {
    6,
    8,
    15,
    25,
    26,
    27,
    36,
    37,
    38,
    41,
    44,
    53,
    62,
    72,
    117,
    123,
    167,
    168,
    223,
    321,
    376,
    427,
    441,
    675,
    676,
}
_NOT_FOUND = {46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511}
_STATUS: Final[dict[int, int]] = {
    **dict.fromkeys(_UNAUTHORIZED, 401),
    **dict.fromkeys(_FORBIDDEN, 403),
    **dict.fromkeys(_BAD_REQUEST, 400),
    **dict.fromkeys(_NOT_FOUND, 404),
    48: 501,  # NOT_IMPLEMENTED
    76: 503,  # CANNOT_OPEN_FILE
    159: 408,  # TIMEOUT_EXCEEDED
    209: 503,  # SOCKET_TIMEOUT
    229: 413,  # QUERY_IS_TOO_LARGE
    381: 411,  # HTTP_LENGTH_REQUIRED
    439: 503,  # CANNOT_SCHEDULE_TASK
    779: 415,  # UNSUPPORTED_MEDIA_TYPE
}
_STATUS_OF_REST = 500

_MESSAGE = re.compile(r"Code: (\d+)\. DB::Exception: .*", re.DOTALL)
# The engine wraps an error once more where it writes the result to a file.
_TWICE = re.compile(
    r"Code: (\d+)\. DB::Exception: (Code: \1\. DB::Exception: .*) \(version [^)]*\)\. \(\w+\)", re.DOTALL
)
_VERSION = re.compile(r"\(version [^()]*(\([^()]*\))?\)\s*\Z")


class StartError(Exception):
    """The server does not start; the message is a sentence for the operator."""


class ClickHouseError(Exception):
    """An answer to the client that is an error, in ClickHouse's own form.

    `code` is ClickHouse's number, `status` the HTTP status; `str(error)` is `Code: N. DB::Exception: … (NAME)`.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(f"Code: {kind.code}. DB::Exception: {message} ({kind.name})")
        self.code = kind.code

    @property
    def status(self) -> int:
        """The HTTP status ClickHouse gives this code."""
        return _STATUS.get(self.code, _STATUS_OF_REST)

    def text(self, version: str) -> str:
        """The response body: the message with the version of the server at its end."""
        message = str(self)
        return message if _VERSION.search(message) else f"{message} (version {version})"

    def reworded(self, change: Callable[[str], str]) -> ClickHouseError:
        """The same error with other words."""
        taken = ClickHouseError(STD_EXCEPTION, "")
        taken.args = (change(str(self)),)
        taken.code = self.code
        return taken

    @classmethod
    def from_engine(cls, error: Exception) -> ClickHouseError:
        """Take over an error that chdb raised; what is not ClickHouse's own wording becomes STD_EXCEPTION."""
        message = _engine_message(error)
        found = _MESSAGE.search(message)
        if found is None:
            return cls(STD_EXCEPTION, message)
        taken = cls(Kind(int(found.group(1)), ""), "")
        text = found.group().rstrip()
        twice = _TWICE.fullmatch(text)
        return taken.reworded(lambda _: twice[2] if twice else text)


def _engine_message(error: BaseException) -> str:
    # chdb turns the engine's message into str as UTF-8; a message that quotes a non-UTF-8 query raises
    # UnicodeDecodeError instead of the error, with the message in it.
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UnicodeDecodeError):
            return cause.object.decode(errors="replace")
        cause = cause.__cause__
    return str(error)
