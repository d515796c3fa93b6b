"""Compression of the records section: gzip, snappy in both framings, LZ4 frames, zstd.

Decompression always has a limit and stops there while it works: a batch of 1 MB can otherwise unfold to 30 GB. No byte
beyond the limit is written; what does not fit raises RecordError, like everything else that is wrong with the bytes.

What is written is what Java clients read: snappy in the xerial framing, LZ4 with independent blocks of 64 KiB (they
refuse dependent ones, KIP-57, and so do we: a batch that Java cannot open must not enter the log). Levels: KIP-390.

gzip is opened by zlib-ng where it is installed: in half of zlib's time, and with the same judgement of every stream,
which faster ones (ISA-L, libdeflate) do not have: they take codes that Java's consumers stop at.
"""

import functools
import struct
import zlib
from enum import IntEnum
from typing import Any

from riverport.kafka.records.errors import RecordError, corrupt
from riverport.kafka.wire.errors import ErrorCode

Buffer = bytes | bytearray | memoryview


class Codec(IntEnum):
    """Codec numbers as they stand in a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


MAX_DECOMPRESSED_BYTES = 64 * 1024 * 1024
"""Default limit for one batch. Clients bound a batch by its uncompressed size (batch.size, message.max.bytes: 1 MB)."""

DEFAULT_LEVELS = {Codec.GZIP: -1, Codec.LZ4: 9, Codec.ZSTD: 3}
"""compression.gzip.level, compression.lz4.level, compression.zstd.level; snappy and none have no level."""

_FIRST_GUESS = 8  # a buffer of this many times the input is tried first; JSON shrinks to a third or a fifth
_GZIP_STEP = 16 * 1024  # of input; what comes out is mostly small enough for the allocator to keep
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK = 32 * 1024
_SNAPPY_MAX_RATIO = 24  # three bytes copy at most 64
_LZ4_MAGIC = 0x184D2204
_LZ4_INDEPENDENT = 0x20
_LZ4_FAST_LEVEL = 9  # Java compresses fast at its default level, 9, and hard at every other
_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_BLOCK = 128 * 1024


def codec_of(number: int) -> Codec:
    """The codec of that number; RecordError (INVALID_RECORD) for 5 to 7, which name none."""
    try:
        return Codec(number)
    except ValueError:
        raise RecordError(ErrorCode.INVALID_RECORD, f"{number} is not the number of a compression codec") from None


def compress(codec: Codec, data: Buffer, level: int | None = None) -> bytes:
    """Compress a records section; `level` as in Kafka's compression.<codec>.level, None for its default."""
    if codec is Codec.NONE:
        return bytes(data)
    if codec is Codec.GZIP:
        packer = zlib.compressobj(-1 if level is None else level, zlib.DEFLATED, 31)
        return packer.compress(data) + packer.flush()
    if codec is Codec.SNAPPY:
        return _compress_xerial(memoryview(data))
    import cramjam

    if codec is Codec.LZ4:
        if level is None or level == _LZ4_FAST_LEVEL:
            level = 1
        frame = cramjam.lz4.Compressor(level=level, content_checksum=False, block_linked=False)
        frame.compress(bytes(data))
        return bytes(frame.finish())
    return bytes(cramjam.zstd.compress(data, level=DEFAULT_LEVELS[codec] if level is None else level))


def decompress(codec: Codec, data: Buffer, limit: int = MAX_DECOMPRESSED_BYTES) -> memoryview:
    """Decompress a records section into at most `limit` bytes.

    Raises RecordError (CORRUPT_MESSAGE) for bytes that are not of this codec, INVALID_RECORD beyond the limit.
    """
    view = memoryview(data)
    match codec:
        case Codec.NONE:
            return view
        case Codec.GZIP:
            return _gunzip(view, limit)
        case Codec.SNAPPY:
            return _decompress_snappy(view, limit)
        case Codec.LZ4:
            return _decompress_frames("lz4", view, _lz4_bound(view), limit)
        case Codec.ZSTD:
            return _decompress_frames("zstd", view, _zstd_bound(view), limit)


def too_large(codec: Codec, limit: int) -> RecordError:
    return RecordError(
        ErrorCode.INVALID_RECORD, f"The {codec.name.lower()} batch unfolds to more than the limit of {limit} bytes"
    )


@functools.cache
def _inflater() -> Any:
    """zlib-ng, or zlib: imported when it is first needed."""
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib
    return zlib_ng


def _gunzip(view: memoryview, limit: int) -> memoryview:
    """All members of a gzip stream."""
    inflate = _inflater()
    # The size that the last member says it has is what all have, mostly; but it is only said.
    declared = int.from_bytes(view[-4:], "little")
    out = memoryview(bytearray(min(declared, limit, max(4096, _FIRST_GUESS * len(view)))))
    pos = size = 0
    while True:
        member = inflate.decompressobj(31)
        while not member.eof:
            if pos >= len(view):
                raise corrupt("The gzip stream ends too early")
            try:
                # One byte more than allowed tells a full buffer from a bomb. A max_length of 0 would mean no limit.
                part = member.decompress(view[pos : pos + _GZIP_STEP], limit - size + 1)
            except inflate.error as error:
                raise corrupt(f"Not a gzip stream: {error}") from None
            pos += _GZIP_STEP
            end = size + len(part)
            if end > limit:
                raise too_large(Codec.GZIP, limit)
            if end > len(out):
                out = _grown(out, size, end, limit)
            out[size:end] = part
            size = end
        pos = min(pos, len(view)) - len(member.unused_data)
        if pos >= len(view):
            return out[:size]


def _grown(out: memoryview, used: int, needed: int, limit: int) -> memoryview:
    """A larger buffer with what is used of `out`."""
    larger = memoryview(bytearray(max(needed, min(2 * used, limit))))
    larger[:used] = out[:used]
    return larger


def _compress_xerial(view: memoryview) -> bytes:
    import cramjam

    parts = [_XERIAL_HEADER]
    for pos in range(0, len(view), _XERIAL_BLOCK):
        block = bytes(cramjam.snappy.compress_raw(view[pos : pos + _XERIAL_BLOCK]))
        parts += (struct.pack(">i", len(block)), block)
    return b"".join(parts)


def _decompress_snappy(view: memoryview, limit: int) -> memoryview:
    import cramjam

    raw = cramjam.snappy
    blocks = _xerial_blocks(view) if view[:8] == _XERIAL_MAGIC else [view]
    sizes = [_snappy_size(block) for block in blocks]
    total = sum(sizes)
    if total > limit:
        raise too_large(Codec.SNAPPY, limit)
    out = memoryview(bytearray(total))
    pos = 0
    for block, size in zip(blocks, sizes, strict=True):
        if size:
            try:
                raw.decompress_raw_into(block, out[pos : pos + size])
            except (cramjam.DecompressionError, OSError, ValueError) as error:
                raise corrupt(f"Not a snappy block: {error}") from None
        pos += size
    return out


def _xerial_blocks(view: memoryview) -> list[memoryview]:
    """The raw blocks of a xerial stream; streams may be joined, each with its header."""
    blocks = []
    pos, end = 0, len(view)
    while pos < end:
        if view[pos : pos + 8] == _XERIAL_MAGIC:
            pos += len(_XERIAL_HEADER)
            continue
        if end - pos < 4:
            raise corrupt("The snappy stream ends within a block length")
        size = int.from_bytes(view[pos : pos + 4], "big")
        pos += 4
        if not 0 < size <= end - pos:
            raise corrupt(f"A snappy block of {size} bytes where {end - pos} remain")
        blocks.append(view[pos : pos + size])
        pos += size
    if pos > end:
        raise corrupt("The snappy stream ends within its header")
    return blocks


def _snappy_size(block: memoryview) -> int:
    """The size that a raw block declares, if a block of this length can unfold to so much."""
    size = 0
    for at, byte in enumerate(block[:5]):
        size |= (byte & 0x7F) << 7 * at
        if byte < 128:
            if size > _SNAPPY_MAX_RATIO * len(block):
                break
            return size
    raise corrupt("A snappy block declares an impossible size")


def _decompress_frames(name: str, view: memoryview, bound: int, limit: int) -> memoryview:
    """Decompress LZ4 or zstd frames into a buffer of fixed size, which is what stops a bomb.

    `bound` is what the blocks can hold at most. A first guess keeps that buffer small for ordinary batches.
    """
    import cramjam

    most = min(bound, limit)
    for size in (min(most, max(4096, _FIRST_GUESS * len(view))), most):
        out = bytearray(size)
        try:
            written = getattr(cramjam, name).decompress_into(view, out)
        except (cramjam.DecompressionError, OSError, ValueError) as error:
            # Its text only: the exception would hold this frame, and so the buffer, in a cycle.
            failure = str(error)
            if size == most:
                break
            continue
        return memoryview(out)[:written]
    if bound > limit and "whole buffer" in failure:
        raise too_large(Codec[name.upper()], limit)
    raise corrupt(f"Not a {name} frame: {failure}") from None


def _lz4_bound(view: memoryview) -> int:
    """Most bytes that an LZ4 frame's blocks can hold. Raises RecordError for what Java's reader refuses."""
    end = len(view)
    if end < 7 or int.from_bytes(view[:4], "little") != _LZ4_MAGIC:
        raise corrupt("Not an LZ4 frame")
    flags, descriptor = view[4], view[5]
    if not flags & _LZ4_INDEPENDENT:
        raise corrupt("An LZ4 frame with dependent blocks")
    block_code = descriptor >> 4 & 7
    if block_code < 4:
        raise corrupt("An LZ4 frame with an unknown block size")
    block_size = 1 << 8 + 2 * block_code
    trailer = 4 if flags & 0x10 else 0
    pos = 15 if flags & 0x08 else 7
    bound = 0
    while pos + 4 <= end:
        size = int.from_bytes(view[pos : pos + 4], "little") & 0x7FFFFFFF
        pos += 4
        if size == 0:
            content_checksum = 4 if flags & 0x04 else 0
            if pos + content_checksum != end:
                raise corrupt("Bytes remain behind the LZ4 frame")
            return bound
        # A token and its length bytes unfold to 255 bytes each at most.
        bound += min(block_size, 255 * size)
        pos += size + trailer
    raise corrupt("The LZ4 frame ends too early")


def _zstd_bound(view: memoryview) -> int:
    """Most bytes that the blocks of all zstd frames can hold (RFC 8878); a wrong frame may yield any number."""
    bound = pos = 0
    end = len(view)
    while end - pos >= 6:
        magic = int.from_bytes(view[pos : pos + 4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a frame to be skipped
            pos += 8 + int.from_bytes(view[pos + 4 : pos + 8], "little")
            continue
        if magic != _ZSTD_MAGIC:
            break
        flags = view[pos + 4]
        single_segment = flags >> 5 & 1
        pos += 5 + (1 - single_segment) + (0, 1, 2, 4)[flags & 3] + (single_segment, 2, 4, 8)[flags >> 6]
        last = 0
        while not last and pos + 3 <= end:
            block = int.from_bytes(view[pos : pos + 3], "little")
            last, kind, size = block & 1, block >> 1 & 3, block >> 3
            bound += _ZSTD_BLOCK if kind == 2 else size
            pos += 3 + (1 if kind == 1 else size)
        pos += 4 if flags & 4 else 0
    return bound
