"""Codecs: round trips, what other writers produce, truncation, and bombs."""

import contextlib
import gzip
import random
import struct
import tracemalloc
import zlib
from typing import Any

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.kafka.records import codecs
from riverport.kafka.records.codecs import DEFAULT_LEVELS, Codec, codec_of, compress, decompress
from riverport.kafka.records.errors import RecordError
from riverport.kafka.wire.errors import ErrorCode

COMPRESSING = [codec for codec in Codec if codec is not Codec.NONE]
JSON = b"".join(b'{"id":%d,"user":"u%d"}' % (i, i * 7919 % 1000) for i in range(12_000))
MIB = 1024 * 1024


@pytest.mark.parametrize("codec", list(Codec))
@given(data=st.binary(max_size=3_000), times=st.integers(1, 60))
def test_every_codec_gives_back_what_it_took(codec: Codec, data: bytes, times: int) -> None:
    assert bytes(decompress(codec, compress(codec, data * times))) == data * times


@pytest.mark.parametrize("codec", list(Codec))
def test_large_sections_take_several_blocks(codec: Codec) -> None:
    assert bytes(decompress(codec, memoryview(compress(codec, memoryview(JSON))))) == JSON


@pytest.mark.parametrize(
    ("codec", "levels"),
    [(Codec.GZIP, [-1, 1, 9]), (Codec.LZ4, [1, 9, 17]), (Codec.ZSTD, [-131_072, 1, 3, 19])],
)
def test_levels_reach_from_fast_to_small(codec: Codec, levels: list[int]) -> None:
    for level in levels:
        assert bytes(decompress(codec, compress(codec, JSON, level))) == JSON
    assert compress(codec, JSON) == compress(codec, JSON, DEFAULT_LEVELS[codec])
    assert len(compress(codec, JSON, levels[-1])) < len(compress(codec, JSON, levels[1]))


def test_snappy_is_written_in_javas_framing_and_read_in_both() -> None:
    framed = compress(Codec.SNAPPY, JSON)
    assert framed[:16] == b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    assert bytes(decompress(Codec.SNAPPY, bytes(cramjam.snappy.compress_raw(JSON)))) == JSON
    assert bytes(decompress(Codec.SNAPPY, framed + framed)) == JSON + JSON
    assert bytes(decompress(Codec.SNAPPY, framed[:16])) == b""


def test_gzip_members_and_zstd_frames_may_be_joined() -> None:
    assert bytes(decompress(Codec.GZIP, gzip.compress(b"one ") + gzip.compress(b"two"))) == b"one two"
    frames = bytes(cramjam.zstd.compress(b"one ")) + b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert bytes(decompress(Codec.ZSTD, frames + bytes(cramjam.zstd.compress(b"two")))) == b"one two"


def test_gzip_members_may_be_of_any_size_and_any_layout() -> None:
    """The end of the stream says how large its last member is, and nothing about the others."""
    members = [JSON, b"", b"small", JSON[:70_000], b"x" * 3_000_000, b""]
    stream = b"".join(gzip.compress(member) for member in members)
    assert bytes(decompress(Codec.GZIP, stream)) == b"".join(members)
    stored = zlib.compressobj(0, zlib.DEFLATED, 31)
    assert bytes(decompress(Codec.GZIP, stored.compress(JSON) + stored.flush())) == JSON


def test_gzip_is_opened_without_zlib_ng_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_inflater", lambda: zlib)
    test_gzip_members_may_be_of_any_size_and_any_layout()
    test_a_bomb_is_stopped_at_the_limit(Codec.GZIP)
    test_a_stream_cut_anywhere_is_corrupt(Codec.GZIP)
    with pytest.raises(RecordError, match="Not a gzip stream"):
        decompress(Codec.GZIP, gzip.compress(JSON)[:-8] + bytes(8))


def _judgement(inflate: Any, stream: bytes) -> tuple[object, ...]:
    member = inflate.decompressobj(-15)
    try:
        content = member.decompress(stream, 1 << 16)
    except inflate.error as error:
        return ("error", str(error))
    return (content, member.eof, member.unused_data)


@given(seed=st.integers(0, 2**64))
def test_zlib_ng_takes_and_refuses_what_zlib_does(seed: int) -> None:
    """Whatever it took beyond that would stop Java's consumers."""
    zlib_ng = pytest.importorskip("zlib_ng.zlib_ng")
    rng = random.Random(seed)
    for _ in range(20):
        content = bytes(rng.choices(b"abcdefgh \n", k=rng.randrange(1, 400)))
        packer = zlib.compressobj(rng.randrange(10), zlib.DEFLATED, -15, 9, rng.choice([0, 1, 2, 4]))
        stream = bytearray(packer.compress(content) + packer.flush())
        for _ in range(rng.randrange(1, 4)):
            stream[rng.randrange(min(len(stream), 60))] ^= 1 << rng.randrange(8)
        stream += rng.randbytes(rng.choice([0, 300]))
        assert _judgement(zlib_ng, bytes(stream)) == _judgement(zlib, bytes(stream))


def test_lz4_blocks_are_independent_as_java_demands() -> None:
    assert compress(Codec.LZ4, JSON)[4] & 0x20
    dependent = cramjam.lz4.Compressor(block_linked=True)
    dependent.compress(JSON)
    with pytest.raises(RecordError, match="dependent"):
        decompress(Codec.LZ4, bytes(dependent.finish()))


@pytest.mark.parametrize("size", [1, 100, 65_536, 65_537, 300_000])
def test_lz4_with_every_option_is_read(size: int) -> None:
    data = (JSON * 2)[:size]
    for level in (1, 12):
        frame = cramjam.lz4.Compressor(level=level, content_checksum=True, block_linked=False)
        frame.compress(data)
        assert bytes(decompress(Codec.LZ4, bytes(frame.finish()))) == data


@pytest.mark.parametrize("codec", COMPRESSING)
def test_a_stream_cut_anywhere_is_corrupt(codec: Codec) -> None:
    whole = compress(codec, JSON[:2_000])
    for cut in range(len(whole)):
        if codec is Codec.SNAPPY and cut == 16:
            continue  # the bare header of an empty stream
        with pytest.raises(RecordError) as raised:
            decompress(codec, whole[:cut])
        assert raised.value.code is ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.LZ4, Codec.ZSTD])
def test_bytes_behind_a_stream_are_corrupt(codec: Codec) -> None:
    with pytest.raises(RecordError):
        decompress(codec, compress(codec, JSON) + b"more")


@pytest.mark.parametrize("codec", COMPRESSING)
@given(noise=st.binary(max_size=200))
def test_noise_raises_nothing_but_record_errors(codec: Codec, noise: bytes) -> None:
    for head in (b"", compress(codec, b"some data")[:11]):
        with contextlib.suppress(RecordError):
            decompress(codec, head + noise, 10_000)


@pytest.mark.parametrize("number", [5, 6, 7])
def test_numbers_without_a_codec_are_refused(number: int) -> None:
    with pytest.raises(RecordError) as raised:
        codec_of(number)
    assert raised.value.code is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("codec", COMPRESSING)
def test_the_buffer_is_let_go_even_if_the_first_guess_was_too_small(codec: Codec) -> None:
    packed = bytearray(compress(codec, bytes(200_000)))
    assert len(decompress(codec, packed)) == 200_000
    packed.append(0)  # a BufferError while anybody still looks at it


def bomb(codec: Codec, size: int) -> bytes:
    """`size` zeros in as few bytes as the codec can."""
    if codec is Codec.ZSTD:
        blocks = size // (128 * 1024)
        block = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"\x00"
        last = (128 * 1024 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\x00"
        return bytes.fromhex("28b52ffd0060") + block * (blocks - 1) + last
    if codec is Codec.GZIP:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        return b"".join([*(packer.compress(bytes(MIB)) for _ in range(size // MIB)), packer.flush()])
    return compress(codec, bytes(size))


@pytest.mark.parametrize("codec", COMPRESSING)
def test_a_bomb_is_stopped_at_the_limit(codec: Codec) -> None:
    limit = 4 * MIB
    packed = bomb(codec, 128 * MIB)
    tracemalloc.start()
    with pytest.raises(RecordError, match="limit") as raised:
        decompress(codec, packed, limit)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert raised.value.code is ErrorCode.INVALID_RECORD
    assert peak < 4 * limit


@pytest.mark.parametrize("codec", COMPRESSING)
def test_exactly_the_limit_is_allowed(codec: Codec) -> None:
    packed = bomb(codec, 2 * MIB)
    assert len(decompress(codec, packed, 2 * MIB)) == 2 * MIB
    with pytest.raises(RecordError, match="limit"):
        decompress(codec, packed, 2 * MIB - 1)


def test_a_zstd_bomb_may_name_any_content_size() -> None:
    for declared in (0, 1, 2**32, 2**63):
        frame = bytearray(bomb(Codec.ZSTD, 16 * MIB))
        frame[4:6] = bytes((0xC0, 0x60)) + declared.to_bytes(8, "little")
        with pytest.raises(RecordError):
            decompress(Codec.ZSTD, frame, MIB)


def test_snappy_blocks_may_not_declare_more_than_they_can_hold() -> None:
    for declared in (b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x04", b"\xff\xff\xff\xff\xff\xff"):
        with pytest.raises(RecordError, match="impossible"):
            decompress(Codec.SNAPPY, declared + b"\x00\x61")
