"""Logs are read back as they were written: both formats, tails, rotation, followers."""

import asyncio
import gzip
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riverport.engine.containers.log_records import LogQuery, LogRecord, decoder
from riverport.engine.containers.logs_reader import log_files, read_log
from riverport.engine.containers.times import SECOND_NS
from riverport.engine.runtime.attach import STDERR, STDOUT
from riverport.engine.runtime.logs import LogWriter, open_log

DRIVERS = ("json-file", "local")
T0 = 1_700_000_000 * SECOND_NS


def log(path: Path, driver: str, **options: str) -> LogWriter:
    return open_log(driver, str(path), {name.replace("_", "-"): value for name, value in options.items()}, {})


async def _collect(batches: AsyncIterator[list[LogRecord]]) -> list[LogRecord]:
    return [record async for batch in batches for record in batch]


def read(path: Path, driver: str, **query: int | bool | None) -> list[LogRecord]:
    return asyncio.run(_collect(read_log(path, driver, LogQuery(**query))))  # type: ignore[arg-type]


def texts(records: list[LogRecord]) -> list[str]:
    return [record.text.decode() for record in records]


def write_lines(writer: LogWriter, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        writer.feed("stderr" if number % 2 else "stdout", f"line {number}\n".encode(), T0 + number * SECOND_NS)


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_was_written_is_read(tmp_path: Path, driver: str) -> None:
    writer = log(tmp_path / "log", driver)
    write_lines(writer, 3)
    writer.feed("stdout", "ä<&>\x00\x1b[1m\n".encode(), T0)
    records = read(tmp_path / "log", driver)
    assert texts(records) == ["line 0\n", "line 1\n", "line 2\n", "ä<&>\x00\x1b[1m\n"]
    assert [record.stream for record in records] == [STDOUT, STDERR, STDOUT, STDOUT]
    assert [record.time_ns for record in records] == [T0, T0 + SECOND_NS, T0 + 2 * SECOND_NS, T0]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"tail": 0}, []),
        ({"tail": 2}, [8, 9]),
        ({"tail": 99}, range(10)),
        ({"stderr": False}, [0, 2, 4, 6, 8]),
        ({"tail": 3, "stdout": False}, [7, 9]),
        ({"since_ns": T0 + 7 * SECOND_NS}, [7, 8, 9]),
        ({"until_ns": T0 + SECOND_NS}, [0, 1]),
        ({"since_ns": T0 + SECOND_NS, "until_ns": T0 + 2 * SECOND_NS}, [1, 2]),
    ],
)
def test_queries(tmp_path: Path, driver: str, query: dict[str, int], numbers: list[int]) -> None:
    write_lines(log(tmp_path / "log", driver), 10)
    assert texts(read(tmp_path / "log", driver, **query)) == [f"line {number}\n" for number in numbers]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("compress", ["false", "true"])
def test_rotated_files_are_one_log(tmp_path: Path, driver: str, compress: str) -> None:
    writer = log(tmp_path / "log", driver, max_size="500", max_file="20", compress=compress)
    write_lines(writer, 60)
    writer.close(T0)
    assert len(log_files(tmp_path / "log")) > 3
    assert any(name.suffix == ".gz" for name in tmp_path.iterdir()) == (compress == "true")
    assert texts(read(tmp_path / "log", driver)) == [f"line {number}\n" for number in range(60)]
    assert texts(read(tmp_path / "log", driver, tail=41)) == [f"line {number}\n" for number in range(19, 60)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_tail_of_a_long_log_reads_only_its_end(tmp_path: Path, driver: str) -> None:
    writer = log(tmp_path / "log", driver)
    writer.feed("stdout", b"".join(b"%d %s\n" % (number, b"x" * 100) for number in range(5000)), T0)
    records = read(tmp_path / "log", driver, tail=1500)
    assert [record.text.split()[0] for record in records] == [b"%d" % number for number in range(3500, 5000)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_line_without_end_and_a_long_line(tmp_path: Path, driver: str) -> None:
    writer = log(tmp_path / "log", driver)
    long = b"y" * 40_000
    writer.feed("stdout", long + b"\nrest", T0)
    writer.close(T0)
    assert b"".join(record.text for record in read(tmp_path / "log", driver)) == long + b"\nrest"


@pytest.mark.parametrize("driver", DRIVERS)
def test_no_log_is_an_empty_log(tmp_path: Path, driver: str) -> None:
    assert read(tmp_path / "log", driver) == []
    assert read(tmp_path / "log", driver, tail=5) == []


@pytest.mark.parametrize("driver", DRIVERS)
@settings(max_examples=30, deadline=None)
@given(pieces=st.lists(st.integers(1, 40), min_size=1), lines=st.lists(st.text(max_size=20), max_size=8))
def test_decoders_take_bytes_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, driver: str, pieces: list[int], lines: list[str]
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    writer = log(path, driver)
    wanted = [line.replace("\n", "") for line in lines]
    for line in wanted:
        writer.feed("stdout", line.encode("utf-8", "replace") + b"\n", T0)
    data, decoding, records = path.read_bytes(), decoder(driver), []
    for size in itertools.cycle(pieces):
        records.extend(decoding.feed(data[:size]))
        data = data[size:]
        if not data:
            break
    assert [record.text for record in records] == [line.encode("utf-8", "replace") + b"\n" for line in wanted]


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    write_lines(log(tmp_path / "log", "json-file"), 1)
    with (tmp_path / "log").open("ab") as file:
        file.write(b'{"log":"torn\n[]\n{"log":"x\\n","stream":"stdout","time":"never"}\n')
    write_lines(log(tmp_path / "log", "json-file"), 1, 1)
    assert texts(read(tmp_path / "log", "json-file")) == ["line 0\n", "line 1\n"]


def test_attributes_and_times_stand_before_the_text() -> None:
    record = LogRecord(STDOUT, T0, b"x\n", {"b": "2", "a": "1"})
    assert LogQuery(details=True).render(record) == b"a=1,b=2 x\n"
    assert LogQuery(timestamps=True).render(record) == b"2023-11-14T22:13:20.000000000Z x\n"


async def _next(batches: AsyncIterator[list[LogRecord]]) -> list[str]:
    return texts(await asyncio.wait_for(anext(batches), 10))


async def _follow(path: Path, driver: str, tail: int | None) -> None:
    writer = log(path, driver, max_size="400", max_file="9", compress="false")
    write_lines(writer, 2)
    ended = asyncio.get_running_loop().create_future()
    batches = read_log(path, driver, LogQuery(follow=True, tail=tail), ended)
    if tail is None:
        assert await _next(batches) == ["line 0\n", "line 1\n"]
    waiting = asyncio.ensure_future(_next(batches))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    write_lines(writer, 1, 2)
    seen = await waiting
    write_lines(writer, 40, 3)  # over several files
    while len(seen) < 41:
        seen += await _next(batches)
    write_lines(writer, 1, 43)
    ended.set_result(None)
    seen += [text for batch in [batch async for batch in batches] for text in texts(batch)]
    assert seen == [f"line {number}\n" for number in range(2, 44)]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("tail", [None, 0])
def test_a_follower_sees_everything_across_rotations_and_ends_with_the_container(
    tmp_path: Path, driver: str, tail: int | None
) -> None:
    asyncio.run(_follow(tmp_path / "log", driver, tail))


async def _follow_single(path: Path) -> None:
    writer = log(path, "json-file", max_size="300", max_file="1")
    write_lines(writer, 1)
    ended = asyncio.get_running_loop().create_future()
    batches = read_log(path, "json-file", LogQuery(follow=True), ended)
    seen = await _next(batches)
    for number in range(1, 30):
        write_lines(writer, 1, number)
        seen += await _next(batches)
    ended.set_result(None)
    assert [batch async for batch in batches] == []
    assert seen == [f"line {number}\n" for number in range(30)]


def test_a_follower_survives_the_emptying_of_the_only_file(tmp_path: Path) -> None:
    asyncio.run(_follow_single(tmp_path / "log"))


def test_the_following_ends_when_its_time_is_over(tmp_path: Path) -> None:
    write_lines(log(tmp_path / "log", "json-file"), 1)

    async def scenario() -> list[LogRecord]:
        ended = asyncio.get_running_loop().create_future()
        return await _collect(
            read_log(tmp_path / "log", "json-file", LogQuery(follow=True, until_ns=T0 + SECOND_NS), ended)
        )

    assert texts(asyncio.run(scenario())) == ["line 0\n"]


def test_a_compressed_file_ends_a_log_whose_current_file_is_missing(tmp_path: Path) -> None:
    write_lines(log(tmp_path / "log", "json-file"), 2)
    (tmp_path / "log.1.gz").write_bytes(gzip.compress((tmp_path / "log").read_bytes()))
    (tmp_path / "log").unlink()
    assert texts(read(tmp_path / "log", "json-file")) == ["line 0\n", "line 1\n"]
