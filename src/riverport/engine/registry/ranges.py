"""Byte ranges: of a blob that is read (RFC 9110, section 14) and of a chunk that is written (OCI distribution 1.1)."""

import re
from typing import NamedTuple

from riverport.engine.registry.errors import BlobUploadInvalid, RangeNotSatisfiable

_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*")
_CHUNK = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\d{1,19}|\*))?")


class Span(NamedTuple):
    """`length` bytes from `start` on."""

    start: int
    length: int

    @property
    def last(self) -> int:
        return self.start + self.length - 1


def parse_range(header: str | None, size: int) -> Span | None:
    """What a GET with this `Range` header wants of `size` bytes; None: all of it.

    Several ranges and other units are answered as a whole, as RFC 9110 allows. Raises RangeNotSatisfiable.
    """
    found = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        start = size - length
    else:
        start = int(found[1])
        last = min(int(found[2]), size - 1) if found[2] else size - 1
        length = last - start + 1
    if length <= 0:
        raise RangeNotSatisfiable({"range": header, "size": size}, headers={"Content-Range": f"bytes */{size}"})
    return Span(start, length)


def parse_chunk(header: str | None, content_length: int | None) -> Span | None:
    """What a PATCH or PUT says it brings: `Content-Range: 0-99`; None where it says nothing.

    Raises BlobUploadInvalid: not a range, or not as long as the body.
    """
    if header is None:
        return None
    found = _CHUNK.fullmatch(header.strip())
    if found is None or int(found[2]) < int(found[1]):
        raise BlobUploadInvalid({"content-range": header}, message="Content-Range is FIRST-LAST")
    span = Span(int(found[1]), int(found[2]) - int(found[1]) + 1)
    if content_length is not None and content_length != span.length:
        raise BlobUploadInvalid(
            {"content-range": header, "content-length": content_length},
            message="Content-Range and Content-Length disagree",
        )
    return span


def upload_range(offset: int) -> str:
    """The `Range` of an upload's answers. "0-0" also stands for an upload without a byte: Docker writes it so."""
    return f"0-{max(offset - 1, 0)}"
