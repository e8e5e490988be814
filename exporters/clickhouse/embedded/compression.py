"""HTTP's content encodings, both ways: gzip, deflate, zstd and lz4 (frames), as ClickHouse's server offers them.

ClickHouse's own block compression (`compress=1`, `decompress=1`) is another thing: `blocks.py`.
"""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol

import lz4.frame

from exporters.clickhouse.embedded.errors import INCORRECT_DATA, NOT_IMPLEMENTED, ClickHouseError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB_LEVEL: Final = 3  # ClickHouse's http_zlib_compression_level
_ZSTD_LEVEL: Final = 1
_PIECE: Final = 1 << 20  # of plain data: a few bytes may stand for very many


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
    def pieces(self, data: bytes, /) -> Iterator[bytes]: ...


class _Bounded:
    """lz4's and zstd's decoders, which keep what they have not decompressed yet, in pieces of a bounded size."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data or b""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        yield self._decoder.decompress(data, _PIECE)
        while not self._decoder.eof and not self._decoder.needs_input:
            yield self._decoder.decompress(b"", _PIECE)


class _BoundedZlib:
    """zlib's decoder, which gives back what it has not decompressed yet, in pieces of a bounded size."""

    def __init__(self, window_bits: int) -> None:
        self._decoder = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data or not self._decoder.eof:
            piece = self._decoder.decompress(data, _PIECE)
            data = self._decoder.unconsumed_tail
            yield piece
            if not data and len(piece) < _PIECE:
                return


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


# In the order of preference: on one machine the cheapest to compute comes first.
_ENCODERS: Final[dict[str, Callable[[], Encoder]]] = {
    "lz4": _Lz4Encoder,
    "zstd": lambda: zstd.ZstdCompressor(level=_ZSTD_LEVEL),
    "gzip": lambda: zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, _GZIP),
    "deflate": lambda: zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS),
}
_DECODERS: Final[dict[str, Callable[[], _Decoder]]] = {
    "lz4": lambda: _Bounded(lz4.frame.LZ4FrameDecompressor()),
    "zstd": lambda: _Bounded(zstd.ZstdDecompressor()),
    "gzip": lambda: _BoundedZlib(_GZIP),
    "deflate": lambda: _BoundedZlib(zlib.MAX_WBITS),
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

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The next plain data, in pieces of a bounded size; raises ClickHouseError (HTTP 400) where it is corrupt."""
        if self._decoder is None:
            yield data
            return
        self._fed = self._fed or bool(data)
        try:
            while data:
                if self._decoder.eof:
                    self._decoder = _DECODERS[self._encoding]()
                yield from self._decoder.pieces(data)
                data = self._decoder.unused_data if self._decoder.eof else b""
        except _BROKEN as error:
            raise ClickHouseError(INCORRECT_DATA, f"The {self._encoding} request body is corrupt: {error}") from error

    def finish(self) -> None:
        """Check that the body came to its end; raises ClickHouseError (HTTP 400) if it is cut off."""
        if self._decoder is not None and self._fed and not self._decoder.eof:
            raise ClickHouseError(INCORRECT_DATA, f"The {self._encoding} request body is cut off")
