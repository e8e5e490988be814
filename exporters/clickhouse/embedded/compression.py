"""HTTP's content encodings, both ways: gzip, deflate, zstd and lz4 (frames), as ClickHouse's server offers them.

ClickHouse's own block compression (`compress=1`, `decompress=1`) is another thing: `blocks.py`.
"""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING, Final, Protocol

import lz4.frame

from exporters.clickhouse.embedded.errors import INCORRECT_DATA, NOT_IMPLEMENTED, ClickHouseError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB_LEVEL: Final = 3  # ClickHouse's http_zlib_compression_level
_ZSTD_LEVEL: Final = 1


class Encoder(Protocol):
    """Compresses a response piece by piece; `flush` ends it."""

    def compress(self, data: bytes, /) -> bytes:
        """The compressed bytes that are ready."""

    def flush(self) -> bytes:
        """The rest of them, with the end of the frame."""


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class _Lz4Encoder:
    """lz4's compressor writes its frame header by a call of its own; here it goes before the first piece."""

    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._header: bytes = self._frame.begin()

    def compress(self, data: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + bytes(self._frame.compress(data))

    def flush(self) -> bytes:
        header, self._header = self._header, b""
        return header + bytes(self._frame.flush())


class _Plain:
    """No compression: what goes in comes out."""

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _new_lz4_decoder() -> _Decoder:
    decoder: _Decoder = lz4.frame.LZ4FrameDecompressor()
    return decoder


# In the order of preference: on one machine the cheapest to compute comes first.
_ENCODERS: Final[dict[str, Callable[[], Encoder]]] = {
    "lz4": _Lz4Encoder,
    "zstd": lambda: zstd.ZstdCompressor(level=_ZSTD_LEVEL),
    "gzip": lambda: zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, _GZIP),
    "deflate": lambda: zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS),
}
_DECODERS: Final[dict[str, Callable[[], _Decoder]]] = {
    "lz4": _new_lz4_decoder,
    "zstd": zstd.ZstdDecompressor,
    "gzip": lambda: zlib.decompressobj(_GZIP),
    "deflate": lambda: zlib.decompressobj(zlib.MAX_WBITS),
}
# lz4 raises plain RuntimeError, zstd EOFError where it is fed past an end.
_BROKEN: Final = (zlib.error, zstd.ZstdError, RuntimeError, EOFError)


def choose_encoding(accepted: str) -> str | None:
    """The content encoding for an Accept-Encoding header, or None for plain."""
    wanted = set()
    for item in accepted.lower().split(","):
        name, _, weight = item.partition(";")
        if weight.replace(" ", "") not in {"q=0", "q=0.0"}:
            wanted.add(name.strip())
    return next((name for name in _ENCODERS if name in wanted), None)


def new_encoder(encoding: str | None) -> Encoder:
    """A fresh encoder for what `choose_encoding` gave."""
    return _Plain() if encoding is None else _ENCODERS[encoding]()


class BodyDecoder:
    """Decompresses one request body, fed in pieces; joined gzip members and frames count as one body."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding == "identity":
            self._encoding = ""
        if self._encoding and self._encoding not in _DECODERS:
            raise ClickHouseError(
                NOT_IMPLEMENTED,
                f"Unknown Content-Encoding: {self._encoding[:40]}. Use one of: {', '.join(_DECODERS)}",
            )
        self._decoder = _DECODERS[self._encoding]() if self._encoding else None
        self._fed = False

    def feed(self, data: bytes) -> bytes:
        """The next piece of plain data; raises ClickHouseError (HTTP 400) where the body is corrupt."""
        if self._decoder is None:
            return data
        out = bytearray()
        self._fed = self._fed or bool(data)
        try:
            while data:
                if self._decoder.eof:
                    self._decoder = _DECODERS[self._encoding]()
                out += self._decoder.decompress(data)
                data = self._decoder.unused_data if self._decoder.eof else b""
        except _BROKEN as error:
            raise ClickHouseError(INCORRECT_DATA, f"The {self._encoding} request body is corrupt: {error}") from error
        return bytes(out)

    def finish(self) -> None:
        """Check that the body came to its end; raises ClickHouseError (HTTP 400) if it is cut off."""
        if self._decoder is not None and self._fed and not self._decoder.eof:
            raise ClickHouseError(INCORRECT_DATA, f"The {self._encoding} request body is cut off")
