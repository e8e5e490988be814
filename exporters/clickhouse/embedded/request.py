"""From an HTTP request to a `Query`: URL parameters, headers and body, put together as ClickHouse's HTTP handler does.

https://clickhouse.com/docs/interfaces/http
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Final, cast
from urllib.parse import parse_qsl, urlsplit

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from exporters.clickhouse.embedded.blocks import BlockDecoder
from exporters.clickhouse.embedded.compression import BodyDecoder
from exporters.clickhouse.embedded.errors import (
    BAD_ARGUMENTS,
    INCORRECT_DATA,
    NOT_IMPLEMENTED,
    QUERY_IS_TOO_LARGE,
    SOCKET_TIMEOUT,
    UNKNOWN_ROLE,
    ClickHouseError,
)
from exporters.clickhouse.embedded.query import Query
from exporters.clickhouse.embedded.sql import Statement, parse
from exporters.clickhouse.embedded.users import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from exporters.clickhouse.embedded.sessions import Session
    from exporters.clickhouse.embedded.users import User

_RECEIVE_TIMEOUT: Final = 30  # seconds; ClickHouse's http_receive_timeout
_IN_MEMORY: Final = 4 << 20  # a body larger than this waits in a temporary file
_HEAD: Final = 1 << 20  # where the INSERT of a body with data must end; ClickHouse's max_query_size is 256 KiB
_LONGEST_TEXT: Final = 16 << 20  # of a query without data

# Parameters of the HTTP layer itself; every other one is a setting, and the engine knows which there are.
# Quotas do not exist here.
_HTTP_PARAMETERS: Final = frozenset(
    {"query", "query_id", "database", "user", "password", "quota_key", "role"}
    | {"session_id", "session_timeout", "session_check", "close_session"}
    | {"compress", "decompress", "buffer_size", "wait_end_of_query"}
    | {"default_format", "client_protocol_version", "stacktrace"}
)
_TRUE: Final = frozenset({"1", "true"})


@dataclass(frozen=True, slots=True)
class Options:
    """URL parameters of one request, repeated ones with their last value; `query` joined as ClickHouse joins it."""

    values: dict[str, str]
    query: str

    @classmethod
    def of(cls, request: web.Request) -> Options:
        """Read the URL, whatever bytes its escapes stand for."""
        pairs = parse_qsl(urlsplit(request.raw_path).query, keep_blank_values=True, errors="surrogateescape")
        return cls.joined(pairs)

    @classmethod
    def joined(cls, pairs: Iterable[tuple[str, str]]) -> Options:
        """Take names and values in the order they came."""
        listed = list(pairs)
        return cls(dict(listed), "".join(value for name, value in listed if name == "query"))

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Whether a parameter is switched on."""
        return self.values[name].lower() in _TRUE if name in self.values else default

    def milliseconds(self, name: str, default: int) -> int:
        """A parameter that is a time; the default where it is no number, or less than one."""
        text = self.values.get(name, "")
        return max(1, int(text)) if text.isdecimal() and len(text) < 10 else default


async def read_query(
    request: web.Request, options: Options, source: IO[bytes], *, user: User, query_id: str, session: Session | None
) -> Query:
    """Read a request completely and say what it asks for; raises ClickHouseError.

    The whole text and data land in `source`, so that a body cut off on its way reaches no table.
    """
    if "role" in options.values:
        raise ClickHouseError(
            UNKNOWN_ROLE, "The embedded ClickHouse's users have one role each, and no other to take: leave out `role`"
        )
    if request.content_type == "multipart/form-data":
        options = await _with_form(request, options)
    head = options.query.encode(errors="surrogateescape")
    # ClickHouse joins the two with a line break.
    source.write(head + b"\n" if head and not head.endswith(b"\n") else head)
    if request.content_type != "multipart/form-data":
        await _read_body(request, options, source, user)
    values = options.values
    return Query(
        user=user,
        query_id=query_id,
        statement=await asyncio.to_thread(_statement, source),  # a long text takes a while
        source=source,
        default_format=(values.get("default_format") or request.headers.get("X-ClickHouse-Format") or "TabSeparated"),
        database=values.get("database") or request.headers.get("X-ClickHouse-Database") or "",
        settings={
            name: value
            for name, value in values.items()
            if name not in _HTTP_PARAMETERS and not name.startswith("param_")
        },
        parameters={name.removeprefix("param_"): value for name, value in values.items() if name.startswith("param_")},
        is_get=request.method in {"GET", "HEAD"},
        session=session,
    )


def new_source() -> IO[bytes]:
    """Where a request's text and data wait: memory, or a temporary file if they are large."""
    return cast("IO[bytes]", SpooledTemporaryFile(max_size=_IN_MEMORY))


def _statement(source: IO[bytes]) -> Statement:
    source.seek(0)
    text = source.read(_HEAD)
    if len(text) < _HEAD:
        return parse(text)
    return _insert_with_data(text) or parse(text + source.read())


def _insert_with_data(head: bytes) -> Statement | None:
    """The INSERT that the head of a long text is, with its data behind it; None if it is none."""
    try:
        statement = parse(head)
    except ClickHouseError:  # such a head may end within a string, and so seem wrong
        return None
    return statement if statement.input_format is not None else None


async def _read_body(request: web.Request, options: Options, source: IO[bytes], user: User) -> None:
    decoder = BodyDecoder(request.headers.get("Content-Encoding", ""))
    blocks = BlockDecoder() if options.flag("decompress") else None

    def pieces(chunk: bytes) -> Iterator[bytes]:
        for plain in decoder.feed(chunk):
            yield from (plain,) if blocks is None else blocks.feed(plain)

    is_insert = False
    try:
        while chunk := await _next_chunk(request):
            for piece in pieces(chunk):
                source.write(piece)
                if source.tell() > _LONGEST_TEXT and not is_insert:
                    _require_insert(source, user)
                    is_insert = True
                await asyncio.sleep(0)  # a little data may decompress to very much
    except (ConnectionError, aiohttp.ClientPayloadError, HttpProcessingError) as error:
        raise ClickHouseError(INCORRECT_DATA, f"The request body is cut off: {error}") from error
    decoder.finish()
    if blocks is not None:
        blocks.finish()


async def _next_chunk(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(_RECEIVE_TIMEOUT):
            return await request.content.readany()
    except TimeoutError:
        raise ClickHouseError(
            SOCKET_TIMEOUT, f"The request body did not go on for {_RECEIVE_TIMEOUT} seconds"
        ) from None


def _require_insert(source: IO[bytes], user: User) -> None:
    """Raise ClickHouseError where so long a body cannot be an INSERT with its data."""
    end = source.tell()
    source.seek(0)
    head = source.read(_HEAD)
    source.seek(end)
    if user.role is Role.READER or _insert_with_data(head) is None:
        raise ClickHouseError(
            QUERY_IS_TOO_LARGE, f"The query is longer than {_LONGEST_TEXT} bytes and no INSERT with data"
        )


async def _with_form(request: web.Request, options: Options) -> Options:
    """Take `query` and `param_*` from form fields too, as clickhouse-connect sends parameters too long for a URL."""
    if request.headers.get("Content-Encoding"):
        raise ClickHouseError(NOT_IMPLEMENTED, "A compressed form is not supported by the embedded ClickHouse")
    try:
        form = await request.post()
    except (ValueError, ConnectionError, aiohttp.ClientPayloadError) as error:
        raise ClickHouseError(BAD_ARGUMENTS, f"The form does not parse: {error}") from error
    fields = []
    for name, value in form.items():
        if not isinstance(value, str):
            raise ClickHouseError(
                NOT_IMPLEMENTED, "External tables are not supported by the embedded ClickHouse: insert into a table"
            )
        fields.append((name, value))
    in_url = [(name, value) for name, value in options.values.items() if name != "query"]
    return Options.joined([*in_url, ("query", options.query), *fields])
