"""Headers of tar archives, always the same bytes for the same entry: ustar, and pax records for what does not fit.

Which form is taken depends on the entry alone: no user names, no time of access, fractions of a second only where asked
for, records sorted. So a layer that is packed twice has one digest.
"""

from typing import Final

from riverport.engine.storage.tar_reader import BLOCK, DIRECTORY, Entry

END: Final = bytes(2 * BLOCK)
_XATTR: Final = b"SCHILY.xattr."
_MAX_OCTAL_7: Final = 0o7777777
_MAX_OCTAL_11: Final = 0o77777777777


def header(entry: Entry, fractions: bool = False) -> bytes:
    """Everything before the entry's data: its pax header, if it needs one, and its own block.

    With `fractions` the time is kept to the nanosecond, at the cost of a pax header for most entries.
    """
    name = entry.name
    if entry.type == DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    records: dict[bytes, bytes] = {_XATTR + key: value for key, value in entry.xattrs.items()}
    seconds, nanoseconds = divmod(entry.mtime_ns, 1_000_000_000)
    if not 0 <= seconds <= _MAX_OCTAL_11 or (fractions and nanoseconds):
        records[b"mtime"] = _seconds(entry.mtime_ns, fractions)
        seconds = min(max(seconds, 0), _MAX_OCTAL_11)
    placed = _split(name)
    if placed is None:
        records[b"path"] = name
        placed = name[:100], b""
    if len(entry.link) > 100 or not entry.link.isascii():
        records[b"linkpath"] = entry.link
    uid = _bounded(records, b"uid", entry.uid, _MAX_OCTAL_7)
    gid = _bounded(records, b"gid", entry.gid, _MAX_OCTAL_7)
    size = _bounded(records, b"size", entry.size, _MAX_OCTAL_11)
    block = _block(placed, entry.type, entry.mode, uid, gid, size, seconds, entry.link[:100], entry.device)
    return _pax(records, name) + block if records else block


def padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """(name, prefix) as ustar holds a path; None if it does not fit or is not ASCII."""
    if not name.isascii():
        return None
    if len(name) <= 100:
        return name, b""
    cut = name.rfind(b"/", 0, min(156, len(name) - 1))
    if cut <= 0 or len(name) - cut - 1 > 100:
        return None
    return name[cut + 1 :], name[:cut]


def _bounded(records: dict[bytes, bytes], key: bytes, value: int, limit: int) -> int:
    if value <= limit:
        return value
    records[key] = str(value).encode()
    return 0


def _seconds(mtime_ns: int, fractions: bool) -> bytes:
    """A decimal of seconds, negative before 1970."""
    if not fractions:
        return str(mtime_ns // 1_000_000_000).encode()
    seconds, nanoseconds = divmod(abs(mtime_ns), 1_000_000_000)
    fraction = f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    return f"{'-' if mtime_ns < 0 else ''}{seconds}{fraction}".encode()


def _pax(records: dict[bytes, bytes], name: bytes) -> bytes:
    data = b"".join(_record(key, records[key]) for key in sorted(records))
    directory, _, last = name.rstrip(b"/").rpartition(b"/")
    shown = (directory[:80] + b"/PaxHeaders.0/" if directory else b"PaxHeaders.0/") + last
    plain = bytes(byte for byte in shown if byte < 128)[:100]
    return _block((plain, b""), b"x", 0, 0, 0, len(data), 0, b"", (0, 0)) + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    # The length counts its own digits.
    while len(body) + len(str(length)) != length:
        length = len(body) + len(str(length))
    return str(length).encode() + body


def _block(
    placed: tuple[bytes, bytes],
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    seconds: int,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    name, prefix = placed
    text = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\x0000%b%07o\0%07o\0%b%b" % (
        name.ljust(100, b"\0"), mode, uid, gid, size, seconds, kind, link.ljust(100, b"\0"), bytes(64),
        device[0] & _MAX_OCTAL_7, device[1] & _MAX_OCTAL_7, prefix.ljust(155, b"\0"), bytes(12),
    )  # fmt: skip
    checksum = b"%06o\0 " % sum(text)
    return text[:148] + checksum + text[156:]
