"""The first query of clickhouse-go, with which Grafana and others begin over HTTP, and the answer that it needs.

It asks for `client_protocol_version`, a form of the Native format that the engine cannot be told to write. But it reads
only this one answer in that form, and every later one in the form of the revision that the server names here: 0, which
is the engine's.

https://github.com/ClickHouse/clickhouse-go/blob/main/conn_http.go
"""

from __future__ import annotations

from typing import Final

SQL: Final = b"SELECT displayName(), version(), revision(), timezone()"

_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"  # since revision 51903: no overflow rows, no bucket
_PLAIN_SERIALIZATION: Final = b"\x00"  # of a column, since revision 54454
_ROWS: Final = 1


def answer(display_name: str, version: str, timezone: str, client_protocol_version: str) -> bytes:
    """One row in the format Native, in the form of the client's revision; empty or 0 is the plain form."""
    revision = int(client_protocol_version) if client_protocol_version.isdecimal() else 0
    columns = {
        "displayName()": ("String", _text(display_name)),
        "version()": ("String", _text(version)),
        "revision()": ("UInt32", bytes(4)),
        "timezone()": ("String", _text(timezone)),
    }
    mark = _PLAIN_SERIALIZATION if revision >= 54454 else b""
    body = b"".join(_text(name) + _text(kind) + mark + value for name, (kind, value) in columns.items())
    return (_BLOCK_INFO if revision >= 51903 else b"") + bytes([len(columns), _ROWS]) + body


def _text(text: str) -> bytes:
    data = text.encode()[:127]  # whose length is one byte in LEB128
    return bytes([len(data)]) + data
