"""Entries from and to bytes: every format that layers come in, and damage."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.storage.archives import Archive

from riverport.engine.storage import tar_reader as tar
from riverport.engine.storage.tar_reader import Entry, InvalidArchive, TarReader
from riverport.engine.storage.tar_writer import END, header, padding


def entries(data: bytes) -> list[tuple[Entry, bytes]]:
    reader = TarReader(io.BytesIO(data))
    return [(entry, b"".join(reader.data())) for entry in reader]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_says_the_same(format: int) -> None:
    long = "d/" * 40 + "name"
    data = Archive(format).file(long, b"x" * 700, uid=7, mode=0o640).symlink("l", "t" * 90).device("n", 1, 3).bytes()
    (first, content), (second, _), (third, _) = entries(data)
    assert (first.name, first.uid, first.mode, content) == (long.encode(), 7, 0o640, b"x" * 700)
    assert (second.type, second.link) == (tar.SYMLINK, b"t" * 90)
    assert third.device == (1, 3)


def test_long_names_of_gnu_and_pax() -> None:
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        name, target = "n" * 300, "t" * 200
        ((entry, _),) = entries(Archive(format).symlink(name, target).bytes())
        assert (entry.name, entry.link) == (name.encode(), target.encode())


def test_times_before_the_epoch_and_between_seconds() -> None:
    ((early, _),) = entries(Archive().file("a", mtime=-1.5).bytes())
    assert early.mtime_ns == -1_500_000_000
    ((gnu, _),) = entries(Archive(tarfile.GNU_FORMAT).file("a", mtime=-5).bytes())
    assert gnu.mtime_ns == -5_000_000_000


def test_global_headers_hold_for_what_follows() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"uid": "77"}) as archive:
        archive.addfile(tarfile.TarInfo("a"))
    ((entry, _),) = entries(buffer.getvalue())
    assert entry.uid == 77


def test_directories_of_before_posix_end_in_a_slash() -> None:
    ((entry, _),) = entries(Archive(tarfile.USTAR_FORMAT).add("d/", tarfile.AREGTYPE).bytes())
    assert entry.type == tar.DIRECTORY


def test_links_have_no_data_whatever_their_size_says() -> None:
    data = Archive(tarfile.USTAR_FORMAT).file("a", b"1").bytes()
    block = bytearray(header(Entry(b"l", tar.LINK, link=b"a")))
    block[124:135] = b"%011o" % 5
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (link, content), (after, _) = entries(bytes(block) + data)
    assert (link.size, content, after.name) == (0, b"", b"a")


@pytest.mark.parametrize("kind", ["--format=gnu", "--format=posix"])
def test_sparse_files_of_gnu_tar(tmp_path: Path, kind: str) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for offset in range(0, 40 << 20, 2 << 20):
            file.seek(offset)
            file.write(b"data" * 1024)
        file.truncate(50 << 20)
    made = subprocess.run(["tar", "-C", tmp_path, "-cS", kind, "sparse"], capture_output=True, check=True).stdout
    ((entry, content),) = entries(made)
    assert (entry.name, entry.size) == (b"sparse", 50 << 20)
    assert entry.segments is not None
    whole = bytearray(entry.size)
    at = 0
    for offset, length in entry.segments:
        whole[offset : offset + length] = content[at : at + length]
        at += length
    assert bytes(whole) == (tmp_path / "sparse").read_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 512,
        b"\x01" * 1024,
        Archive().file("a", b"x" * 2000).bytes()[:1500],
        Archive().file("a", b"x").bytes()[:300],
        Archive().add("a", b"Z").bytes(),
        Archive().file("a", pax_headers={"size": "-1"}).bytes(),
        Archive().file("a", pax_headers={"uid": "x"}).bytes(),
        Archive().file("a", pax_headers={"mtime": "soon"}).bytes(),
        Archive().file("a", pax_headers={"path": "a\0b"}).bytes(),
        Archive().file("a", pax_headers={"SCHILY.xattr.a\0b": "v"}).bytes(),
        Archive().file("a", pax_headers={"comment": "c" * (tar.MAX_EXTENSION_BYTES + 1)}).bytes(),
        Archive().file("a", b"5\n", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}).bytes(),
    ],
)
def test_damage_is_an_error_of_the_archive(data: bytes) -> None:
    with pytest.raises(InvalidArchive):
        entries(data)


def test_the_end_may_be_missing_and_what_follows_it_is_told() -> None:
    data = Archive().file("a", b"1").bytes()
    assert len(entries(data[:1024])) == 1
    raw: list[bytes] = []
    reader = TarReader(io.BytesIO(data + b"trailer"), raw.append)
    whole = bytearray()
    for _ in reader:
        whole += b"".join(raw) + b"".join(reader.data())
        raw.clear()
    assert bytes(whole + b"".join(raw)) == data + b"trailer"


NAMES = st.binary(min_size=1, max_size=180).filter(lambda name: b"\0" not in name and not name.endswith(b"/"))
ENTRIES = st.builds(
    Entry,
    name=NAMES,
    type=st.sampled_from([tar.REGULAR, tar.DIRECTORY, tar.SYMLINK, tar.CHARACTER, tar.FIFO]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    gid=st.integers(0, 2**32 - 2),
    mtime_ns=st.integers(-(10**18), 10**19),
    xattrs=st.dictionaries(st.sampled_from([b"user.a", b"security.capability"]), st.binary(max_size=40)),
)


@given(st.lists(st.tuples(ENTRIES, st.binary(max_size=1200), NAMES), max_size=4))
def test_what_is_written_is_read_again(wanted: list[tuple[Entry, bytes, bytes]]) -> None:
    data = b""
    for entry, content, target in wanted:
        if entry.type == tar.REGULAR:
            entry.size = entry.stored = len(content)
        if entry.type == tar.SYMLINK:
            entry.link = target
        body = content if entry.type == tar.REGULAR else b""
        data += header(entry, fractions=True) + body + padding(len(body))
    found = entries(data + END)
    assert len(found) == len(wanted)
    for (read, body), (entry, content, _) in zip(found, wanted, strict=True):
        assert read.name.rstrip(b"/") == entry.name
        read.name = entry.name
        assert read == entry
        assert body == (content if entry.type == tar.REGULAR else b"")
        with tarfile.open(fileobj=io.BytesIO(data + END)) as peer:
            assert len(peer.getmembers()) == len(wanted)


@given(st.binary(max_size=3000), st.integers(0, 2000))
def test_any_bytes_are_entries_or_refused(noise: bytes, at: int) -> None:
    good = bytearray(Archive(tarfile.GNU_FORMAT).file("n" * 120, b"x" * 600, uid=3).bytes())
    good[at : at + len(noise)] = noise
    for data in (noise, bytes(good)):
        try:
            entries(data)
        except InvalidArchive as refused:
            assert refused.status == 400  # noqa: PT017
