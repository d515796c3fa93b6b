"""The machine's files where the system lets them down."""

import errno
import os
from pathlib import Path

import pytest

from riverport.base.files import OsFiles, StorageError


def test_a_write_that_stops_half_way_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = OsFiles().open(str(tmp_path / "a.log"), create=True)
    file.append([b"whole"])

    real = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", lambda fd, chunks, at: real(fd, b"".join(chunks)[:3], at))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError) as raised:
        file.append([b"0123456789"])
    assert raised.value.errno == errno.ENOSPC
    assert (file.size(), (tmp_path / "a.log").read_bytes()) == (5, b"whole")


def test_a_write_that_fails_at_once_leaves_nothing_behind_the_old_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = OsFiles().open(str(tmp_path / "a.log"), create=True)
    file.append([b"whole"])

    def broken(fd: int, chunks: list[bytes], offset: int) -> int:
        os.pwrite(fd, b"part", offset)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwritev", broken)
    with pytest.raises(StorageError):
        file.append([b"partial content"])
    assert (tmp_path / "a.log").read_bytes() == b"whole"


def test_a_short_write_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = OsFiles().open(str(tmp_path / "a.log"), create=True)
    monkeypatch.setattr(os, "pwritev", lambda fd, chunks, at: os.pwrite(fd, b"".join(chunks)[:3], at))
    assert file.append([b"0123", b"456789"]) == 10
    assert (tmp_path / "a.log").read_bytes() == b"0123456789"
