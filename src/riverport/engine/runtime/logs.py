"""Container logs on disk: Docker's `json-file` and `local` formats, rotation, and what happens when the disk is full.

json-file   one JSON object a line: {"log":"…\\n","stream":"stdout","time":"RFC3339Nano"}. A line longer than 16 KiB
            becomes several objects, of which only the last one's text ends in \\n.
local       u32 length, a protobuf LogEntry, the same u32 again (so that it can be read backwards), big-endian.
            LogEntry: 1 source, 2 time in ns, 3 line without \\n, 4 partial, 5 {1 last, 2 id, 3 ordinal}.

File F is current; F.1 is the one before it, F.2 … older ones; `.gz` follows where `compress` is on. Rotation happens
before a write, once F has reached max-size, so that a reader who follows F sees whole records only.

The shim imports this: nothing heavier than `json`.
"""

import contextlib
import json
import json.encoder
import os
import time

_quoted = json.encoder.encode_basestring  # the C function; non-ASCII stays as it is

SPLIT_BYTES = 16 * 1024
_DEFAULTS = {
    # Docker keeps one json-file for ever; a log that fills the disk is not what anybody wants.
    "json-file": {"max-size": "100m", "max-file": "3", "compress": "false"},
    "local": {"max-size": "20m", "max-file": "5", "compress": "true"},
}
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


class BadLogOption(ValueError):
    """The text is Docker's."""


def parse_size(text: str) -> int:
    """`10m`, `1.5g`, `512`, `10MB`, `10MiB` in bytes; -1 for "no limit"."""
    if text.strip() == "-1":
        return -1
    lower = text.strip().lower().removesuffix("b").removesuffix("i")
    number, unit = (lower[:-1], lower[-1]) if lower[-1:] in _UNITS and lower[-1:] else (lower, "")
    try:
        size = float(number)
    except ValueError:
        raise BadLogOption(f"invalid size: '{text}'") from None
    if size < 0:
        raise BadLogOption(f"invalid size: '{text}'")
    return int(size * _UNITS[unit])


class Rotation:
    """When a log file is turned over, and how many are kept, the current one included."""

    def __init__(self, max_bytes: int, max_files: int, compress: bool) -> None:
        self.max_bytes = max_bytes  # -1: never
        self.max_files = max_files
        self.compress = compress

    @classmethod
    def from_options(cls, driver: str, options: dict[str, str]) -> "Rotation":
        """Raises BadLogOption in Docker's words."""
        chosen = {**_DEFAULTS[driver], **{key: value for key, value in options.items() if value != ""}}
        try:
            max_files = int(chosen["max-file"])
        except ValueError:
            raise BadLogOption(f"invalid value for max-file: {chosen['max-file']}") from None
        if max_files < 1:
            raise BadLogOption("max-file cannot be less than 1")
        max_bytes = parse_size(chosen["max-size"])
        if max_bytes == 0:
            raise BadLogOption("max-size must be a positive number")
        if chosen["compress"].lower() not in ("true", "false", "1", "0", "t", "f"):
            raise BadLogOption(f"invalid value for compress: {chosen['compress']}")
        compress = chosen["compress"].lower() in ("true", "1", "t")
        if driver == "json-file" and "compress" in options and compress and max_files < 2:
            raise BadLogOption("compress cannot be true when max-file is less than 2 or unset")
        return cls(max_bytes, max_files, compress and max_files > 1)


def rfc3339_nano(time_ns: int) -> str:
    """As Go's RFC3339Nano: UTC, zeros at the end of the fraction left out."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


class JsonFormat:
    def __init__(self, attributes: dict[str, str]) -> None:
        self._attributes = ""
        if attributes:
            self._attributes = '"attrs":' + json.dumps(attributes, ensure_ascii=False, separators=(",", ":")) + ","

    def records(self, stream: str, lines: list[tuple[bytes, bool]], time_ns: int) -> list[bytes]:
        """`lines`: text without its newline, and whether the line goes on in the next record."""
        tail = f',"stream":"{stream}",{self._attributes}"time":"{rfc3339_nano(time_ns)}"}}\n'
        made = []
        for text, partial in lines:
            quoted = _quoted(text.decode("utf-8", "replace") if partial else text.decode("utf-8", "replace") + "\n")
            # Go's encoder writes these three so that JSON may stand in HTML; some readers compare bytes.
            quoted = quoted.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
            made.append(f'{{"log":{quoted}{tail}'.encode())
        return made


class LocalFormat:
    def __init__(self) -> None:
        self._group: dict[str, tuple[bytes, int]] = {}  # by stream: id of the line that goes on, next ordinal

    def records(self, stream: str, lines: list[tuple[bytes, bool]], time_ns: int) -> list[bytes]:
        made = []
        for text, partial in lines:
            entry = _text_field(1, stream.encode()) + b"\x10" + _varint(time_ns) + _text_field(3, text)
            if partial or stream in self._group:
                entry += (b"\x20\x01" if partial else b"") + self._part(stream, partial)
            size = len(entry).to_bytes(4, "big")
            made.append(size + entry + size)
        return made

    def _part(self, stream: str, partial: bool) -> bytes:
        group, ordinal = self._group.pop(stream, (b"", 1))
        group = group or os.urandom(16).hex().encode()
        if partial:
            self._group[stream] = (group, ordinal + 1)
        last = b"" if partial else b"\x08\x01"
        return _text_field(5, last + _text_field(2, group) + b"\x18" + _varint(ordinal))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text_field(number: int, text: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(text)) + text


class LogFile:
    """Whole records to F, with rotation. A full disk costs records, never the container."""

    def __init__(self, path: str, rotation: Rotation) -> None:
        self._path = path
        self._rotation = rotation
        self._fd = -1
        self._bytes = 0
        self._compressor = 0  # pid of the child that compresses F.1
        self.lost_records = 0
        self._open(os.O_APPEND)

    def write(self, records: list[bytes]) -> None:
        limit = self._rotation.max_bytes
        start = 0
        if limit > 0:
            room = limit - self._bytes
            for position, record in enumerate(records):
                if room <= 0:
                    self._write(records[start:position])
                    self._rotate()
                    start, room = position, limit
                room -= len(record)
        self._write(records[start:] if start else records)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._await_compressor()

    def _open(self, flag: int) -> None:
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flag, 0o640)
            self._bytes = os.fstat(self._fd).st_size
        except OSError:
            self._fd, self._bytes = -1, 0

    def _write(self, records: list[bytes]) -> None:
        if not records:
            return
        if self._fd < 0:
            self._open(os.O_APPEND)
        data = b"".join(records)
        try:
            written = os.write(self._fd, data)
        except OSError:
            self.lost_records += len(records)
            return
        self._bytes += written
        if written < len(data):
            # The disk got full in the middle of a record: take the torn one back, or the next one would be glued to it.
            self._keep_whole_records(records, written)

    def _keep_whole_records(self, records: list[bytes], written: int) -> None:
        start, whole = self._bytes - written, 0
        for position, record in enumerate(records):
            if whole + len(record) > written:
                self.lost_records += len(records) - position
                break
            whole += len(record)
        os.ftruncate(self._fd, start + whole)
        self._bytes = start + whole

    def _rotate(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._rotation.max_files > 1:
            self._await_compressor()
            self._shift()
            if self._rotation.compress:
                self._compress(f"{self._path}.1")
            self._open(os.O_APPEND)
        else:
            self._open(os.O_TRUNC)

    def _shift(self) -> None:
        for number in range(self._rotation.max_files - 1, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            for suffix in ("", ".gz"):
                try:
                    os.rename(older + suffix, f"{self._path}.{number}{suffix}")
                except FileNotFoundError:
                    continue
                except OSError:
                    return
                # Compressed or not, a number stands for one file.
                other = f"{self._path}.{number}{'' if suffix else '.gz'}"
                if os.path.exists(other):
                    os.unlink(other)

    def _compress(self, path: str) -> None:
        """In a child, since the container's output must not wait for it and a shim has no threads."""
        self._compressor = os.fork()
        if self._compressor == 0:
            try:
                compress(path)
            finally:
                os._exit(0)

    def _await_compressor(self) -> None:
        if self._compressor:
            with contextlib.suppress(ChildProcessError):  # the shim's loop reaps every child, and may be first
                os.waitpid(self._compressor, 0)
            self._compressor = 0


class Overflowing:
    """mode=non-blocking: a thread writes; what does not fit into `max_bytes` of memory is dropped, as Docker does."""

    def __init__(self, file: LogFile, max_bytes: int) -> None:
        import threading

        self._file = file
        self._max_bytes = max_bytes
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def write(self, records: list[bytes]) -> None:
        with self._changed:
            for record in records:
                if self._waiting and self._bytes + len(record) > self._max_bytes:
                    self._file.lost_records += 1
                    continue
                self._waiting.append(record)
                self._bytes += len(record)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._file.close()

    def _drain(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                batch, self._waiting, self._bytes = self._waiting, [], 0
            if not batch:
                return
            self._file.write(batch)


def compress(path: str) -> None:
    """`path` becomes `path`.gz; a reader finds the one or the other at any time."""
    import gzip

    partial = f"{path}.gz.tmp"
    with open(path, "rb") as source, gzip.open(partial, "wb", compresslevel=4) as target:
        while chunk := source.read(1 << 18):
            target.write(chunk)
    os.rename(partial, f"{path}.gz")
    os.unlink(path)


class LogWriter:
    """Bytes of stdout and stderr become records of lines. Not thread-safe."""

    def __init__(self, file: LogFile | Overflowing, format: JsonFormat | LocalFormat) -> None:
        self._file = file
        self._format = format
        self._open_line: dict[str, bytes] = {}  # by stream: what came after the last newline; < SPLIT_BYTES

    def feed(self, stream: str, data: bytes, time_ns: int) -> None:
        begun = self._open_line.get(stream, b"")
        whole = (begun + data if begun else data).split(b"\n")
        rest = whole.pop()
        lines: list[tuple[bytes, bool]] = []
        for text in whole:
            if len(text) > SPLIT_BYTES:
                text = _split(text, lines)
            lines.append((text, False))
        if len(rest) >= SPLIT_BYTES:
            rest = _split(rest, lines)
        self._open_line[stream] = rest
        if lines:
            self._file.write(self._format.records(stream, lines, time_ns))

    def close(self, time_ns: int) -> None:
        for stream, text in self._open_line.items():
            if text:
                self._file.write(self._format.records(stream, [(text, True)], time_ns))
        self._open_line.clear()
        self._file.close()


def _split(text: bytes, lines: list[tuple[bytes, bool]]) -> bytes:
    """Puts full parts of a long line on `lines`; the rest, at least one byte if the line does not end yet."""
    position = 0
    while len(text) - position > SPLIT_BYTES:
        end = position + SPLIT_BYTES
        for back in range(4):  # a character is not torn apart, if these are characters at all
            if text[end - back] & 0xC0 != 0x80:
                end -= back
                break
        lines.append((text[position:end], True))
        position = end
    return text[position:]


def open_log(driver: str, path: str, options: dict[str, str], attributes: dict[str, str]) -> LogWriter:
    """Raises BadLogOption."""
    rotation = Rotation.from_options(driver, options)
    format = LocalFormat() if driver == "local" else JsonFormat(attributes)
    file = LogFile(path, rotation)
    if options.get("mode") == "non-blocking":
        return LogWriter(Overflowing(file, parse_size(options.get("max-buffer-size", "1m"))), format)
    return LogWriter(file, format)
