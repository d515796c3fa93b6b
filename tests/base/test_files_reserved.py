"""Room reserved behind the end of files that grow fast: it is no part of the file, and is given back."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from riverport.base import files as files_module
from riverport.base.files import LARGE_APPEND, RESERVE_LEAST, RESERVE_MOST, OsFile, OsFiles

CHUNK = b"0123456789abcdef" * (RESERVE_LEAST // 16)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[OsFile]:
    opened = OsFiles().open(str(tmp_path / "file"), create=True)
    assert isinstance(opened, OsFile)
    yield opened
    opened.close()


@pytest.fixture
def reserved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(start, size) of each reservation; none of them reaches the system."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(files_module, "reserve", lambda fd, start, size: found.append((start, size)))
    return found


def allocated(file: OsFile) -> int:
    os.fdatasync(file.fileno())  # what was written has blocks only then
    return os.fstat(file.fileno()).st_blocks * 512


def test_a_file_is_as_long_as_what_is_in_it(file: OsFile) -> None:
    for number in range(3):
        assert file.append([CHUNK, b"x"]) == len(CHUNK) + 1
        assert file.size() == os.fstat(file.fileno()).st_size == (number + 1) * (len(CHUNK) + 1)
    assert file.pread(10, len(CHUNK) - 2) == b"efx0123456"


def test_what_is_reserved_is_given_back(file: OsFile, tmp_path: Path) -> None:
    file.append([CHUNK])
    if allocated(file) == len(CHUNK):
        pytest.skip("this file system reserves nothing")
    file.trim()
    assert allocated(file) == len(CHUNK)
    file.append([CHUNK])
    assert allocated(file) > 2 * len(CHUNK)
    file.close()
    found = os.stat(tmp_path / "file")
    assert found.st_blocks * 512 == found.st_size == 2 * len(CHUNK)


def test_as_much_is_reserved_as_there_is_within_bounds(file: OsFile, reserved: list[tuple[int, int]]) -> None:
    for _ in range(60):
        file.append([CHUNK])
    ends = [start + size for start, size in reserved]
    assert reserved[0] == (0, 2 * RESERVE_LEAST)
    assert reserved[1] == (2 * RESERVE_LEAST, 4 * RESERVE_LEAST)
    assert ends[-1] - 60 * RESERVE_LEAST < RESERVE_MOST
    assert len(reserved) < 10


@pytest.mark.parametrize("size", [100, LARGE_APPEND - 1])
def test_small_appends_reserve_nothing(file: OsFile, reserved: list[tuple[int, int]], size: int) -> None:
    for _ in range(3 * RESERVE_LEAST // size if size > 1000 else 1000):
        file.append([b"x" * size])
    assert reserved == []


def test_a_small_file_reserves_nothing(file: OsFile, reserved: list[tuple[int, int]]) -> None:
    file.append([b"x" * LARGE_APPEND])
    assert reserved == []


def test_a_truncated_file_asks_anew(file: OsFile, reserved: list[tuple[int, int]]) -> None:
    file.append([CHUNK])
    file.truncate(0)
    file.append([CHUNK])
    assert reserved == [(0, 2 * RESERVE_LEAST)] * 2


def test_a_nearly_full_disk_is_left_alone(file: OsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_bavail, f_frsize = 100, 4096

    def full(fd: int) -> Any:
        return Full

    monkeypatch.setattr(os, "fstatvfs", full)
    file.append([CHUNK])
    assert allocated(file) == len(CHUNK)


def test_where_the_system_has_no_such_call_appends_go_on(file: OsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    from riverport.base import reserve

    monkeypatch.setattr(reserve, "_fallocate", lambda: None)
    file.append([CHUNK])
    assert file.size() == len(CHUNK)
    assert allocated(file) == len(CHUNK)
