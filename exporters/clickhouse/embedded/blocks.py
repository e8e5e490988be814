"""ClickHouse's own compression over HTTP: `compress=1` for responses, `decompress=1` for request bodies.

A body is a row of blocks, and nothing around them. Each block is a checksum, a header that names the method and both
sizes, and the compressed data; the checksum covers the header and the data.

https://github.com/ClickHouse/ClickHouse/blob/master/src/Compression/CompressedReadBufferBase.cpp
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128

from exporters.clickhouse.embedded.errors import INCORRECT_DATA, ClickHouseError, Kind

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHECKSUM_DOESNT_MATCH: Final = Kind(40, "CHECKSUM_DOESNT_MATCH")
TOO_LARGE_SIZE_COMPRESSED: Final = Kind(84, "TOO_LARGE_SIZE_COMPRESSED")
UNKNOWN_COMPRESSION_METHOD: Final = Kind(89, "UNKNOWN_COMPRESSION_METHOD")
CANNOT_DECOMPRESS: Final = Kind(271, "CANNOT_DECOMPRESS")

_CHECKSUM: Final = struct.Struct("<QQ")
_HEADER: Final = struct.Struct("<BII")  # the method, the size of header and data, the size of the plain data
_BEFORE_DATA: Final = _CHECKSUM.size + _HEADER.size
_LONGEST_WRITTEN: Final = 1 << 20  # of plain data; ClickHouse's DBMS_DEFAULT_BUFFER_SIZE
_LONGEST_READ: Final = 1 << 26  # either size; clients write blocks of 1 MiB, though ClickHouse itself takes 1 GiB
_NONE: Final = 0x02
_LZ4: Final = 0x82
_ZSTD: Final = 0x90
# Every zstd decoder is expected to take a window of 8 MiB, and an encoder may use one for less data than that.
_SMALLEST_WINDOW_LOG: Final = 23


class BlockEncoder:
    """Compresses a response into LZ4 blocks; small pieces wait until they fill one."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def compress(self, data: bytes) -> bytes:
        """The blocks that are full."""
        self._waiting += data
        end = len(self._waiting) - len(self._waiting) % _LONGEST_WRITTEN
        starts = range(0, end, _LONGEST_WRITTEN)
        blocks = b"".join(_written(self._waiting[start : start + _LONGEST_WRITTEN]) for start in starts)
        del self._waiting[:end]
        return blocks

    def flush(self) -> bytes:
        """The last block, if any data is left for it."""
        rest, self._waiting = self._waiting, bytearray()
        return _written(rest) if rest else b""


def literal_block(data: bytes) -> bytes:
    """One LZ4 block with the data as they are, at least 15 bytes: clickhouse-go looks for errors in the raw bytes."""
    rest = len(data) - 15
    return _framed(b"\xf0" + b"\xff" * (rest // 255) + bytes([rest % 255]) + data, len(data))


class BlockDecoder:
    """Decompresses one request body, fed in pieces that need not be whole blocks; an error ends it."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain data of the blocks that are whole, one by one; raises ClickHouseError where the body is corrupt."""
        self._waiting += data
        yield from self._blocks()

    def finish(self) -> None:
        """Check that the body came to its end; raises ClickHouseError (HTTP 400) if it is cut off."""
        if self._waiting:
            raise ClickHouseError(INCORRECT_DATA, "The request body of compressed blocks is cut off")

    def _blocks(self) -> Iterator[bytes]:
        # A header is judged as soon as it is there: nobody waits for the data of a block that will be refused.
        while len(self._waiting) >= _BEFORE_DATA:
            header = _Header.read(self._waiting)
            end = _CHECKSUM.size + header.size
            if len(self._waiting) < end:
                return
            with memoryview(self._waiting) as waiting:
                block = bytes(waiting[:end])
            del self._waiting[:end]
            yield _plain(header, block)


class _Method(NamedTuple):
    name: str
    ratio: int  # the most plain bytes that one compressed byte can stand for
    decompress: Callable[[memoryview, int], bytes]


class _Header(NamedTuple):
    method: _Method
    size: int
    plain_size: int

    @classmethod
    def read(cls, block: bytearray) -> _Header:
        """Read the header of a block, and refuse one that no sound block has."""
        code, size, plain_size = _HEADER.unpack_from(block, _CHECKSUM.size)
        method = _METHODS.get(code)
        if method is None:
            raise ClickHouseError(
                UNKNOWN_COMPRESSION_METHOD,
                f"Unknown compression method 0x{code:02x}. Use one of: "
                + ", ".join(f"{known.name} (0x{byte:02x})" for byte, known in _METHODS.items()),
            )
        if max(size, plain_size) > _LONGEST_READ:
            raise ClickHouseError(
                TOO_LARGE_SIZE_COMPRESSED,
                f"Too large block: {size} bytes compressed, {plain_size} bytes uncompressed. "
                "Most likely corrupted data.",
            )
        if size < _HEADER.size or not plain_size:
            raise ClickHouseError(
                CANNOT_DECOMPRESS,
                f"The header of a block is corrupt: {size} bytes compressed (with {_HEADER.size} of header), "
                f"{plain_size} bytes uncompressed",
            )
        if plain_size > method.ratio * (size - _HEADER.size):
            raise ClickHouseError(
                CANNOT_DECOMPRESS,
                f"The header of a block is corrupt: {plain_size} bytes uncompressed are more than {size} bytes of "
                f"{method.name} can hold",
            )
        return cls(method, size, plain_size)


def _checksum(data: bytes | memoryview) -> bytes:
    # In the number that the package gives, the half that ClickHouse writes first is the upper one.
    return _CHECKSUM.pack(*divmod(CityHash128(data), 1 << 64))


def _written(data: bytearray) -> bytes:
    return _framed(lz4.block.compress(data, store_size=False), len(data))


def _framed(compressed: bytes, plain_size: int) -> bytes:
    block = _HEADER.pack(_LZ4, _HEADER.size + len(compressed), plain_size) + compressed
    return _checksum(block) + block


def _plain(header: _Header, block: bytes) -> bytes:
    view = memoryview(block)
    reference, actual = block[: _CHECKSUM.size], _checksum(view[_CHECKSUM.size :])
    if reference != actual:
        raise ClickHouseError(
            CHECKSUM_DOESNT_MATCH,
            f"Checksum doesn't match: corrupted data. Reference: {reference.hex()}. Actual: {actual.hex()}. "
            f"Size of compressed block: {header.size}",
        )
    try:
        plain = header.method.decompress(view[_BEFORE_DATA:], header.plain_size)
    except (lz4.block.LZ4BlockError, zstd.ZstdError) as error:
        raise ClickHouseError(
            CANNOT_DECOMPRESS, f"Cannot decompress a block of {header.method.name}: {error}"
        ) from error
    if len(plain) != header.plain_size:
        raise ClickHouseError(
            CANNOT_DECOMPRESS,
            f"Cannot decompress a block of {header.method.name}: it holds {len(plain)} bytes where its header declares "
            f"{header.plain_size}",
        )
    return plain


def _from_none(data: memoryview, _plain_size: int) -> bytes:
    return bytes(data)


def _from_lz4(data: memoryview, plain_size: int) -> bytes:
    plain: bytes = lz4.block.decompress(data, uncompressed_size=plain_size)
    return plain


def _from_zstd(data: memoryview, plain_size: int) -> bytes:
    # A frame can ask for a window far larger than its data.
    window_log = max(_SMALLEST_WINDOW_LOG, (plain_size - 1).bit_length())
    decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window_log})
    # One byte more than declared lets the decoder come to the end of the frame, and shows data that is too long.
    plain = decoder.decompress(data, max_length=plain_size + 1)
    if not decoder.eof or decoder.unused_data:
        raise zstd.ZstdError("it is not one whole frame of the declared size")
    return plain


# LZ4 spends a byte for 255 bytes of a long match, zstd four bytes for 128 KiB of one repeated byte.
_METHODS: Final = {
    _LZ4: _Method("LZ4", 255, _from_lz4),
    _ZSTD: _Method("ZSTD", 1 << 15, _from_zstd),
    _NONE: _Method("NONE", 1, _from_none),
}
