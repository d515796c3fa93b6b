"""What the shim writes of a container's output: formats, split lines, rotation, full disks."""

import errno
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.runtime import logs
from riverport.engine.runtime.logs import (
    SPLIT_BYTES,
    BadLogOption,
    LogFile,
    Rotation,
    compress,
    open_log,
    parse_size,
    rfc3339_nano,
)

NOON = 1_700_000_000_000_000_000


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def local_entries(data: bytes) -> list[dict[int, Any]]:
    """Read backwards by the length behind each entry, as `tail` does."""
    found = []
    while data:
        size = int.from_bytes(data[-4:], "big")
        assert int.from_bytes(data[-8 - size : -4 - size], "big") == size
        found.append(protobuf(data[-4 - size : -4]))
        data = data[: -8 - size]
    return found[::-1]


def protobuf(data: bytes) -> dict[int, Any]:
    def varint(at: int) -> tuple[int, int]:
        value, shift = 0, 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 0x80:
                return value, at

    made: dict[int, Any] = {}
    at = 0
    while at < len(data):
        key, at = varint(at)
        value, at = varint(at)
        if key & 7 == 2:
            made[key >> 3] = data[at : at + value]
            at += value
        else:
            made[key >> 3] = value
    return made


def test_lines_of_both_streams_with_times(tmp_path: Path) -> None:
    log = open_log("json-file", str(tmp_path / "log"), {}, {})
    log.feed("stdout", b"one\ntw", NOON)
    log.feed("stderr", b"bad <&> \xff\n", NOON + 1_500_000_000)
    log.feed("stdout", b"o\nunfinished", NOON)
    log.close(NOON)
    assert entries(tmp_path / "log") == [
        {"log": "one\n", "stream": "stdout", "time": "2023-11-14T22:13:20Z"},
        {"log": "bad <&> \ufffd\n", "stream": "stderr", "time": "2023-11-14T22:13:21.5Z"},
        {"log": "two\n", "stream": "stdout", "time": "2023-11-14T22:13:20Z"},
        {"log": "unfinished", "stream": "stdout", "time": "2023-11-14T22:13:20Z"},
    ]
    assert b"\\u003c\\u0026\\u003e" in (tmp_path / "log").read_bytes()


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_however_output_is_cut_the_lines_are_the_same(chunks: list[bytes]) -> None:
    written: list[bytes] = []

    class Memory:
        def write(self, records: list[bytes]) -> None:
            written.extend(records)

        def close(self) -> None:
            pass

    writer = logs.LogWriter(Memory(), logs.JsonFormat({}))  # type: ignore[arg-type]
    for chunk in chunks:
        writer.feed("stdout", chunk, NOON)
    writer.close(NOON)
    whole = b"".join(chunks)
    lines = [line + b"\n" for line in whole.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    expected = [line.decode("utf-8", "replace") for line in lines if line]
    assert [json.loads(record)["log"] for record in written] == expected


def test_a_long_line_is_split_and_only_its_last_part_ends_it(tmp_path: Path) -> None:
    log = open_log("json-file", str(tmp_path / "log"), {}, {})
    text = "ä" * SPLIT_BYTES  # two bytes each, and no part tears one
    for start in range(0, len(text), 1000):
        log.feed("stdout", text[start : start + 1000].encode(), NOON)
    log.feed("stdout", b"!\n", NOON)
    log.close(NOON)
    parts = [entry["log"] for entry in entries(tmp_path / "log")]
    assert "".join(parts) == text + "!\n"
    assert all(len(part.encode()) <= SPLIT_BYTES for part in parts)
    assert [part.endswith("\n") for part in parts] == [False] * (len(parts) - 1) + [True]


def test_bytes_that_are_no_text_are_split_too(tmp_path: Path) -> None:
    log = open_log("json-file", str(tmp_path / "log"), {}, {})
    log.feed("stdout", b"\x80" * (SPLIT_BYTES * 2 + 5) + b"\n", NOON)
    log.close(NOON)
    assert [len(entry["log"]) for entry in entries(tmp_path / "log")] == [SPLIT_BYTES, SPLIT_BYTES, 6]


def test_chosen_attributes_stand_in_each_line(tmp_path: Path) -> None:
    log = open_log("json-file", str(tmp_path / "log"), {}, {"tag": "ä", "x": "1"})
    log.feed("stdout", b"a\n", NOON)
    log.close(NOON)
    assert entries(tmp_path / "log")[0]["attrs"] == {"tag": "ä", "x": "1"}


def test_the_local_format(tmp_path: Path) -> None:
    log = open_log("local", str(tmp_path / "log"), {}, {})
    log.feed("stdout", b"one\n" + b"x" * (SPLIT_BYTES + 10) + b"\n", NOON)
    log.feed("stderr", b"two\n", NOON + 1)
    log.close(NOON)
    one, first, last, two = local_entries((tmp_path / "log").read_bytes())
    assert one == {1: b"stdout", 2: NOON, 3: b"one"}
    assert two == {1: b"stderr", 2: NOON + 1, 3: b"two"}
    assert (first[3], first[4]) == (b"x" * SPLIT_BYTES, 1)
    assert (last[3], 4 in last) == (b"x" * 10, False)
    assert protobuf(first[5])[2] == protobuf(last[5])[2]
    assert (protobuf(first[5])[3], protobuf(last[5])[3], protobuf(last[5])[1]) == (1, 2, 1)


def rotated(path: Path, options: dict[str, str], count: int) -> list[str]:
    log = open_log("json-file", str(path), options, {})
    for number in range(count):
        log.feed("stdout", f"line {number:03}\n".encode(), NOON)
    log.close(NOON)
    return sorted(entry.name for entry in path.parent.iterdir())


def test_rotation_keeps_the_newest_files(tmp_path: Path) -> None:
    names = rotated(tmp_path / "log", {"max-size": "1k", "max-file": "3"}, 100)
    assert names == ["log", "log.1", "log.2"]
    kept = [entry["log"] for name in ("log.2", "log.1", "log") for entry in entries(tmp_path / name)]
    assert kept == [f"line {number:03}\n" for number in range(100 - len(kept), 100)]
    assert all(1024 <= (tmp_path / name).stat().st_size < 1200 for name in ("log.1", "log.2"))


def test_one_large_write_is_rotated_record_by_record(tmp_path: Path) -> None:
    log = open_log("json-file", str(tmp_path / "log"), {"max-size": "1k", "max-file": "50"}, {})
    log.feed("stdout", b"".join(b"line %03d\n" % number for number in range(100)), NOON)
    log.close(NOON)
    files = sorted(tmp_path.iterdir(), key=lambda path: int(path.suffix[1:] or 0) if path.suffix else 0, reverse=True)
    assert [entry["log"] for path in files for entry in entries(path)] == [f"line {n:03}\n" for n in range(100)]
    assert max(path.stat().st_size for path in files) < 1200


def test_a_single_file_starts_again(tmp_path: Path) -> None:
    assert rotated(tmp_path / "log", {"max-size": "1k", "max-file": "1"}, 100) == ["log"]
    assert entries(tmp_path / "log")[-1]["log"] == "line 099\n"


def test_older_files_are_compressed(tmp_path: Path) -> None:
    names = rotated(tmp_path / "log", {"max-size": "1k", "max-file": "3", "compress": "true"}, 100)
    assert names == ["log", "log.1.gz", "log.2.gz"]
    older = gzip.decompress((tmp_path / "log.1.gz").read_bytes()).decode()
    newest = entries(tmp_path / "log")[0]["log"]
    last = json.loads(older.splitlines()[-1])["log"]
    assert int(last.split()[1]) + 1 == int(newest.split()[1])


def test_a_file_that_was_compressed_before_gives_way(tmp_path: Path) -> None:
    """`compress` was on for an earlier container of this log, and is off now."""
    path = tmp_path / "log"
    for number in (1, 2):
        (tmp_path / f"log.{number}").write_text("old")
        compress(str(tmp_path / f"log.{number}"))
    assert rotated(path, {"max-size": "1k", "max-file": "3"}, 60) == ["log", "log.1", "log.2"]


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for number in range(2):
        log = open_log("json-file", str(tmp_path / "log"), {}, {})
        log.feed("stdout", b"%d\n" % number, NOON)
        log.close(NOON)
    assert [entry["log"] for entry in entries(tmp_path / "log")] == ["0\n", "1\n"]


def test_a_disk_that_gets_full_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LogFile(str(tmp_path / "log"), Rotation(-1, 1, False))
    real, room = os.write, [25]

    def write(fd: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(room[0], len(data))
        room[0] -= taken
        return real(fd, data[:taken])

    monkeypatch.setattr(logs.os, "write", write)
    file.write([b"a" * 9 + b"\n", b"b" * 9 + b"\n", b"c" * 9 + b"\n"])
    file.write([b"d\n"])
    assert file.lost_records == 2
    room[0] = 100
    file.write([b"e\n"])
    file.close()
    assert (tmp_path / "log").read_text() == "a" * 9 + "\n" + "b" * 9 + "\n" + "e\n"


def test_a_directory_that_appears_later_is_found(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "d" / "log"), Rotation(-1, 1, False))
    file.write([b"a\n"])
    (tmp_path / "d").mkdir()
    file.write([b"b\n"])
    file.close()
    assert file.lost_records == 1
    assert (tmp_path / "d" / "log").read_text() == "b\n"


def test_non_blocking_writes_everything_that_fits(tmp_path: Path) -> None:
    log = open_log("json-file", str(tmp_path / "log"), {"mode": "non-blocking", "max-buffer-size": "10m"}, {})
    for number in range(500):
        log.feed("stdout", f"{number}\n".encode(), NOON)
    log.close(NOON)
    assert [entry["log"] for entry in entries(tmp_path / "log")] == [f"{number}\n" for number in range(500)]


def test_non_blocking_drops_what_does_not_fit() -> None:
    from threading import Event

    going, written, lost = Event(), [], []

    class Slow:
        lost_records = 0

        def write(self, records: list[bytes]) -> None:
            going.wait()
            written.extend(records)

        def close(self) -> None:
            lost.append(self.lost_records)

    writer = logs.Overflowing(Slow(), 100)  # type: ignore[arg-type]
    for _ in range(50):
        writer.write([b"x" * 30])
    going.set()
    writer.close()
    assert len(written) + lost[0] == 50
    assert lost[0] > 40


@pytest.mark.parametrize(
    ("text", "size"),
    [("10m", 10 << 20), ("1k", 1024), ("512", 512), ("1.5g", 3 << 29), ("10MB", 10 << 20), ("7KiB", 7168), ("-1", -1)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("json-file", {"max-size": "x"}),
        ("json-file", {"max-size": "-5k"}),
        ("json-file", {"max-size": "0"}),
        ("json-file", {"max-file": "0"}),
        ("json-file", {"max-file": "many"}),
        ("json-file", {"compress": "maybe"}),
        ("json-file", {"compress": "true", "max-file": "1"}),
        ("local", {"max-size": "k"}),
    ],
)
def test_bad_options_are_refused(driver: str, options: dict[str, str]) -> None:
    with pytest.raises(BadLogOption):
        Rotation.from_options(driver, options)


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (NOON + 120_000_000, "2023-11-14T22:13:20.12Z"),
    ],
)
def test_times_as_go_writes_them(time_ns: int, text: str) -> None:
    assert rfc3339_nano(time_ns) == text
