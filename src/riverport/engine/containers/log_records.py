"""Records of container logs, read back from what the shim has written (formats: `runtime/logs.py`). Pure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from riverport.engine.containers.times import parse_time, rfc3339_fixed
from riverport.engine.errors import InvalidParameter
from riverport.engine.runtime.attach import STDERR, STDOUT

_STREAMS = {"stdout": STDOUT, "stderr": STDERR}
_SIZE_BYTES = 4


@dataclass(slots=True)
class LogRecord:
    stream: int
    time_ns: int
    text: bytes  # with its newline, unless the line goes on in the next record
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class LogQuery:
    """What a client wants of a log; `tail` counts records from the end, None is all of them."""

    stdout: bool = True
    stderr: bool = True
    since_ns: int = 0
    until_ns: int | None = None
    tail: int | None = None
    follow: bool = False
    timestamps: bool = False
    details: bool = False

    def takes(self, record: LogRecord) -> bool:
        return (self.stdout if record.stream == STDOUT else self.stderr) and record.time_ns >= self.since_ns

    def render(self, record: LogRecord) -> bytes:
        text = record.text
        if self.details:
            shown = ",".join(f"{name}={value}" for name, value in sorted(record.attributes.items()))
            text = shown.encode() + b" " + text
        return rfc3339_fixed(record.time_ns).encode() + b" " + text if self.timestamps else text


class Decoder(Protocol):
    """Bytes of a file in, whole records out; an unfinished one waits for the next bytes."""

    def feed(self, data: bytes) -> Iterator[LogRecord]: ...


class JsonDecoder:
    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[LogRecord]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            record = _json_record(line)
            if record is not None:
                yield record


def _json_record(line: bytes) -> LogRecord | None:
    """None for what is no record: a line that a crash of the machine has torn."""
    try:
        fields = json.loads(line)
        stream, time_ns = _STREAMS[fields["stream"]], parse_time(fields["time"], 0)
        return LogRecord(stream, time_ns, fields["log"].encode("utf-8", "surrogateescape"), fields.get("attrs") or {})
    except (ValueError, KeyError, TypeError, AttributeError, InvalidParameter):
        return None


class LocalDecoder:
    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[LogRecord]:
        buffer, position = self._rest + data, 0
        while position + _SIZE_BYTES <= len(buffer):
            size = int.from_bytes(buffer[position : position + _SIZE_BYTES], "big")
            end = position + size + 2 * _SIZE_BYTES
            if end > len(buffer):
                break
            record = _local_record(buffer[position + _SIZE_BYTES : end - _SIZE_BYTES])
            position = end
            if record is not None:
                yield record
        self._rest = buffer[position:]


def _local_record(entry: bytes) -> LogRecord | None:
    stream, time_ns, text, partial = 0, 0, b"", False
    position = 0
    try:
        while position < len(entry):
            key, position = _varint(entry, position)
            if key & 7 == 0:
                value, position = _varint(entry, position)
                time_ns, partial = (value, partial) if key >> 3 == 2 else (time_ns, bool(value))
            else:
                size, position = _varint(entry, position)
                piece, position = entry[position : position + size], position + size
                if key >> 3 == 1:
                    stream = _STREAMS[piece.decode()]
                elif key >> 3 == 3:
                    text = piece
    except (IndexError, KeyError, UnicodeDecodeError):
        return None
    return LogRecord(stream, time_ns, text if partial else text + b"\n")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def decoder(driver: str) -> Decoder:
    return LocalDecoder() if driver == "local" else JsonDecoder()


def tail_of_json(data: bytes, count: int) -> tuple[int, int]:
    """(offset of the last `count` records in `data`, how many there are, at most `count`)."""
    end = len(data)
    for found in range(count):
        newline = data.rfind(b"\n", 0, max(0, end - 1))
        if end == 0:
            return 0, found
        end = newline + 1
    return end, count


def tail_of_local(data: bytes, count: int) -> tuple[int, int]:
    """As `tail_of_json`, by the sizes at the records' ends."""
    end = len(data)
    for found in range(count):
        if end < 2 * _SIZE_BYTES:
            return 0, found
        start = end - int.from_bytes(data[end - _SIZE_BYTES : end], "big") - 2 * _SIZE_BYTES
        if start < 0:
            return 0, found
        end = start
    return end, count
