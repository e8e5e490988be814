"""ClickHouse's own compression: blocks are written and read as ClickHouse does, and broken ones harm nothing."""

import contextlib
import struct
import sys
import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import lz4.block
import pytest
from clickhouse_cityhash.cityhash import CityHash128
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.clickhouse.embedded.blocks import BlockDecoder, BlockEncoder, literal_block
from exporters.clickhouse.embedded.errors import ClickHouseError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NONE, LZ4, ZSTD = 0x02, 0x82, 0x90
MIB = 1 << 20
LONGEST = 64 * MIB

WORDS = b"tollgate" * 50
# Column files of MergeTree tables, as ClickHouse 26.9 wrote them with CODEC(NONE), CODEC(LZ4) and CODEC(ZSTD(1)).
WRITTEN_BY_CLICKHOUSE = {
    "none, 1 byte": ("bc3c0ebb35315f30adcb01fea7a24761 02 0a000000 01000000 07", b"\x07"),
    "lz4, 1 byte": ("de58c15b94e9d2607d78618d87505cac 82 0b000000 01000000 1007", b"\x07"),
    "zstd, 1 byte": ("3b371b62e39b5f96c7ef6f346db74577 90 13000000 01000000 28b52ffd200109000007", b"\x07"),
    "none": (f"ab0b6afad542883f06c40f9d9e55f99b 02 99010000 90010000 {WORDS.hex()}", WORDS),
    "lz4": (
        "16ba4532cbabfacf9a86145a28558b4e 82 1c000000 90010000 8f746f6c6c676174650800ff71506c67617465",
        WORDS,
    ),
    "zstd": (
        "b57e4c10661f198b90dac60d0c70386e 90 22000000 90010000 28b52ffd6090007d000040746f6c6c67617465010085530b17",
        WORDS,
    ),
}


def packed_lz4(plain: bytes) -> bytes:
    """The data of an LZ4 block."""
    packed: bytes = lz4.block.compress(plain, store_size=False)
    return packed


COMPRESS: dict[int, Callable[[bytes], bytes]] = {NONE: bytes, LZ4: packed_lz4, ZSTD: zstd.compress}


def framed(method: int, data: bytes, plain_size: int, size: int | None = None) -> bytes:
    """A block with a checksum that is right, whatever else is wrong."""
    block = struct.pack("<BII", method, 9 + len(data) if size is None else size, plain_size) + data
    return struct.pack("<QQ", *divmod(CityHash128(block), 1 << 64)) + block


def sound(method: int, plain: bytes) -> bytes:
    """A block with nothing wrong."""
    return framed(method, COMPRESS[method](plain), len(plain))


def read(*pieces: bytes) -> bytes:
    """The plain data of a whole body."""
    decoder = BlockDecoder()
    plain = b"".join([block for piece in pieces for block in decoder.feed(piece)])
    decoder.finish()
    return plain


def written(*pieces: bytes) -> bytes:
    """The body for a whole response."""
    encoder = BlockEncoder()
    return b"".join([encoder.compress(piece) for piece in pieces]) + encoder.flush()


def plain_sizes(body: bytes) -> list[int]:
    """The size of plain data that each block of a body declares."""
    sizes, start = [], 0
    while start < len(body):
        _method, size, plain_size = struct.unpack_from("<BII", body, start + 16)
        sizes.append(plain_size)
        start += 16 + size
    return sizes


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, some of them empty."""
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


def refused(body: bytes) -> ClickHouseError:
    """The error that a body ends in."""
    with pytest.raises(ClickHouseError) as caught:
        read(body)
    return caught.value


@pytest.mark.parametrize("name", WRITTEN_BY_CLICKHOUSE)
def test_blocks_that_clickhouse_wrote_are_read(name: str) -> None:
    """ClickHouse's own blocks pass the checksum and give their data, short and long, with each method."""
    block, plain = WRITTEN_BY_CLICKHOUSE[name]
    assert read(bytes.fromhex(block)) == plain


def test_a_block_is_written_as_clickhouse_writes_it() -> None:
    """The encoder's block is the one that ClickHouse makes of the same data."""
    block, plain = WRITTEN_BY_CLICKHOUSE["lz4, 1 byte"]
    assert written(plain) == bytes.fromhex(block)


@given(data=st.binary(max_size=4000), repeated=st.integers(1, 1200), places=st.lists(st.integers(0), max_size=8))
def test_what_is_written_is_read_again(data: bytes, repeated: int, places: list[int]) -> None:
    """Data comes back the same, wherever the pieces are cut on either side."""
    plain = data * repeated
    body = written(*cut(plain, places))
    assert read(*cut(body, places)) == plain


@pytest.mark.parametrize("method", COMPRESS)
def test_a_body_may_come_byte_by_byte(method: int) -> None:
    """Pieces far smaller than a header make the same data."""
    body = sound(method, WORDS) + sound(method, b"x")
    assert read(*(body[at : at + 1] for at in range(len(body)))) == WORDS + b"x"


def test_one_body_may_mix_the_methods() -> None:
    """Each block names its method itself."""
    assert read(b"".join(sound(method, bytes([method])) for method in COMPRESS)) == bytes(COMPRESS)


def test_nothing_is_an_empty_body() -> None:
    """No data makes no block, and no block is no data."""
    assert (written(), written(b"", b""), read(), read(b"")) == (b"", b"", b"", b"")


def test_small_pieces_share_a_block() -> None:
    """Pieces wait until they fill a block, and the end brings what waits."""
    encoder = BlockEncoder()
    assert [encoder.compress(b"x" * 1000) for _ in range(1000)] == [b""] * 1000
    assert plain_sizes(encoder.compress(b"x" * 100_000)) == [MIB]
    assert plain_sizes(encoder.flush()) == [1_100_000 - MIB]


def test_a_large_piece_is_split_into_blocks_of_a_mebibyte() -> None:
    """No block holds more than 1 MiB of plain data, and full ones do not wait."""
    encoder = BlockEncoder()
    assert plain_sizes(encoder.compress(b"x" * (3 * MIB + 5))) == [MIB] * 3
    assert plain_sizes(encoder.flush()) == [5]
    assert plain_sizes(written(b"x" * 2 * MIB)) == [MIB] * 2


def test_an_encoder_is_fresh_after_its_end() -> None:
    """A flush leaves nothing behind for a second one."""
    encoder = BlockEncoder()
    encoder.compress(WORDS)
    assert read(encoder.flush()) == WORDS
    assert encoder.flush() == b""


@pytest.mark.parametrize("method", COMPRESS)
@pytest.mark.parametrize("at", [0, 8, 15, -1])
def test_a_wrong_checksum_is_refused(method: int, at: int) -> None:
    """A changed byte of checksum or data is CHECKSUM_DOESNT_MATCH, with both checksums in the text."""
    body = bytearray(sound(method, WORDS))
    body[at] ^= 1
    error = refused(bytes(body))
    assert error.code == 40
    assert f"Reference: {body[:16].hex()}. Actual: " in str(error)
    assert str(error).endswith("(CHECKSUM_DOESNT_MATCH)")


@pytest.mark.parametrize(("size", "plain_size"), [(LONGEST, LONGEST + 1), (LONGEST + 1, 1), (0xFFFFFFFF, 1)])
def test_a_size_over_the_longest_is_refused(size: int, plain_size: int) -> None:
    """Either declared size over 64 MiB is TOO_LARGE_SIZE_COMPRESSED."""
    error = refused(framed(LZ4, b"", plain_size, size))
    assert (error.code, "TOO_LARGE_SIZE_COMPRESSED" in str(error)) == (84, True)


def test_the_longest_block_is_waited_for() -> None:
    """A block of just the largest size passes as a header, and takes no memory before its data comes."""
    decoder = BlockDecoder()
    tracemalloc.start()
    try:
        assert [*decoder.feed(framed(NONE, b"", LONGEST - 9, LONGEST))] == []
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MIB


@pytest.mark.parametrize("size", [0, 1, 8])
def test_a_size_below_that_of_the_header_is_refused(size: int) -> None:
    """A block that declares to be shorter than its own header is CANNOT_DECOMPRESS."""
    assert refused(framed(LZ4, b"\0" * 20, 10, size)).code == 271


@pytest.mark.parametrize("method", COMPRESS)
def test_a_block_of_nothing_is_refused(method: int) -> None:
    """A block that declares no plain data is CANNOT_DECOMPRESS, as for ClickHouse."""
    assert refused(sound(method, b"")).code == 271


@pytest.mark.parametrize("method", [0x00, 0x01, 0x81, 0x91, 0xFF])
def test_an_unknown_method_is_refused(method: int) -> None:
    """Any other method byte is UNKNOWN_COMPRESSION_METHOD, and the text names the known ones."""
    error = refused(framed(method, b"data", 4))
    assert error.code == 89
    assert f"0x{method:02x}. Use one of: LZ4 (0x82), ZSTD (0x90), NONE (0x02)" in str(error)


@pytest.mark.parametrize(
    ("method", "data", "plain_size"),
    [
        (LZ4, b"\xff" * 20, 100),
        (LZ4, packed_lz4(WORDS) + b"x", 400),
        (LZ4, packed_lz4(WORDS)[:-1], 400),
        (ZSTD, b"\xff" * 20, 100),
        (ZSTD, zstd.compress(WORDS) + b"x", 400),
        (ZSTD, zstd.compress(WORDS[:200]) * 2, 400),
        (ZSTD, zstd.compress(WORDS)[:-1], 400),
    ],
)
def test_corrupt_data_is_refused(method: int, data: bytes, plain_size: int) -> None:
    """Data that is not what its method makes is CANNOT_DECOMPRESS, though the checksum matches."""
    error = refused(framed(method, data, plain_size))
    assert (error.code, "CANNOT_DECOMPRESS" in str(error)) == (271, True)


@pytest.mark.parametrize("method", COMPRESS)
@pytest.mark.parametrize("difference", [-399, -1, 1])
def test_a_wrong_plain_size_is_refused(method: int, difference: int) -> None:
    """Data that is shorter or longer than declared is CANNOT_DECOMPRESS."""
    assert refused(framed(method, COMPRESS[method](WORDS), len(WORDS) + difference)).code == 271


@pytest.mark.parametrize(("method", "ratio"), [(LZ4, 255), (ZSTD, 32768), (NONE, 1)])
def test_a_plain_size_out_of_reach_is_refused_before_the_data(method: int, ratio: int) -> None:
    """A plain size that the compressed size cannot hold is refused at the header, and one that it could is not."""
    decoder = BlockDecoder()
    assert [*decoder.feed(framed(method, b"", 100 * ratio, 109))] == []
    with pytest.raises(ClickHouseError) as caught:
        next(BlockDecoder().feed(framed(method, b"", 100 * ratio + 1, 109)))
    assert caught.value.code == 271


@pytest.mark.parametrize("method", COMPRESS)
def test_the_best_ratios_are_accepted(method: int) -> None:
    """The most compressible data stays below the ratio that is believed."""
    plain = bytes(63 * MIB)
    assert read(sound(method, plain)) == plain


@pytest.mark.parametrize("method", [LZ4, ZSTD])
def test_a_bomb_takes_no_more_memory_than_it_declares(method: int) -> None:
    """Data that would grow to 64 MiB but declares 1000 bytes is refused without being made."""
    bomb = framed(method, COMPRESS[method](bytes(64 * MIB)), 1000)
    tracemalloc.start()
    try:
        error = refused(bomb)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.code == 271
    assert peak < 3 * len(bomb) + MIB


@pytest.mark.parametrize("window_log", [10, 20, 23])
def test_a_window_larger_than_the_data_is_accepted(window_log: int) -> None:
    """A zstd encoder that did not know the size of its data may ask for a window of up to 8 MiB."""
    encoder = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
    data = encoder.compress(WORDS) + encoder.flush()
    assert read(framed(ZSTD, data, len(WORDS))) == WORDS


def test_a_window_out_of_proportion_is_refused() -> None:
    """A zstd frame cannot make the decoder set memory aside for a window of 16 MiB while its block declares less."""
    encoder = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
    data = encoder.compress(WORDS) + encoder.flush()
    error = refused(framed(ZSTD, data, len(WORDS)))
    assert (error.code, "too much memory" in str(error)) == (271, True)


@pytest.mark.parametrize("method", COMPRESS)
def test_a_body_that_is_cut_off_is_refused(method: int) -> None:
    """A body that ends within a block is INCORRECT_DATA, wherever it ends; the blocks before it are read."""
    first, second = sound(method, WORDS), sound(method, WORDS[:20])
    for end in range(1, len(second)):
        decoder = BlockDecoder()
        assert b"".join(decoder.feed(first + second[:end])) == WORDS
        with pytest.raises(ClickHouseError, match="cut off") as caught:
            decoder.finish()
        assert (caught.value.code, caught.value.status) == (117, 400)


@given(
    method=st.sampled_from(list(COMPRESS)),
    changes=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), min_size=1, max_size=3),
)
def test_a_changed_body_is_refused(method: int, changes: list[tuple[int, int]]) -> None:
    """Changed bytes anywhere end in a ClickHouseError, never in other data or another exception."""
    body = sound(method, WORDS) + sound(method, bytes(range(256)))
    changed = bytearray(body)
    for at, flipped in changes:
        changed[at % len(body)] ^= flipped
    if changed == body:
        return
    with pytest.raises(ClickHouseError):
        read(bytes(changed))


@settings(max_examples=300)
@given(
    method=st.sampled_from(list(COMPRESS)),
    plain=st.binary(min_size=1, max_size=300),
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4),
    data_end=st.integers(0, 400),
    plain_size=st.none() | st.integers(0, 0xFFFFFFFF),
)
def test_data_with_a_forged_checksum_raises_no_other_exception(
    method: int, plain: bytes, changes: list[tuple[int, int]], data_end: int, plain_size: int | None
) -> None:
    """Changed data under a checksum that matches ends in a ClickHouseError, or in as many bytes as were declared."""
    data = bytearray(COMPRESS[method](plain)[:data_end])
    for at, value in changes:
        if data:
            data[at % len(data)] = value
    declared = len(plain) if plain_size is None else plain_size
    with contextlib.suppress(ClickHouseError):
        assert len(read(framed(method, bytes(data), declared))) == declared


@given(pieces=st.lists(st.binary(max_size=60), max_size=5))
def test_random_bytes_raise_no_other_exception(pieces: list[bytes]) -> None:
    """A body that is no blocks at all is a ClickHouseError, unless it is empty."""
    if not any(pieces):
        assert read(*pieces) == b""
        return
    with pytest.raises(ClickHouseError):
        read(*pieces)


@pytest.mark.parametrize("size", [15, 16, 269, 270, 271, 70_000])
def test_a_literal_block_shows_its_text(size: int) -> None:
    """A literal block holds the text as it is, for clients that search for it, and is a block like any other."""
    text = bytes(number % 251 for number in range(size))
    block = literal_block(text)
    assert text in block
    decoder = BlockDecoder()
    assert b"".join(decoder.feed(block)) == text
    decoder.finish()
