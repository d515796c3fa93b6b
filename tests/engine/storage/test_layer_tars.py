"""A layer's archive, its files, and the same archive again: compressions, recipes, packing."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.storage.archives import NEEDS_ROOT, Archive, tree

from riverport.engine.errors import SystemFailure
from riverport.engine.storage import compression, pack
from riverport.engine.storage.compression import GzipWriter, Hashed, compression_of, decompressed
from riverport.engine.storage.pack import Packer, Pieces
from riverport.engine.storage.recipe import RecipeReader, RecipeWriter
from riverport.engine.storage.tar_reader import InvalidArchive, Source
from riverport.engine.storage.unpack import unpack

pytestmark = NEEDS_ROOT

PACKERS = {
    "": lambda data: data,
    "gzip": gzip.compress,
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def whole(source: Source, size: int = 70_000) -> bytes:
    pieces = []
    while data := source.read(size):
        pieces.append(data)
    return b"".join(pieces)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def stored(data: bytes, place: Path) -> tuple[Path, Path]:
    """Unpack a layer; its files and its recipe."""
    place.mkdir()
    (place / "diff").mkdir()
    writer = RecipeWriter(place / "recipe")
    unpack(decompressed(io.BytesIO(data)), place / "diff", writer)
    writer.close()
    return place / "diff", place / "recipe"


def again(files: Path, recipe: Path) -> bytes:
    reader = RecipeReader(recipe, files)
    try:
        return whole(reader)
    finally:
        reader.close()


@pytest.mark.parametrize("kind", PACKERS)
def test_every_compression_is_known_by_its_first_bytes(kind: str) -> None:
    data = os.urandom(300_000) + b"a" * 2_000_000
    packed = PACKERS[kind](data)
    assert compression_of(packed) == kind
    assert whole(decompressed(io.BytesIO(packed))) == data


@pytest.mark.parametrize("kind", [kind for kind in PACKERS if kind])
def test_several_members_on_end_are_one_stream(kind: str) -> None:
    packed = PACKERS[kind](b"first ") + PACKERS[kind](b"second")
    assert whole(decompressed(io.BytesIO(packed)), 3) == b"first second"


@pytest.mark.parametrize("kind", [kind for kind in PACKERS if kind])
def test_a_stream_that_is_cut_off_or_damaged_is_refused(kind: str) -> None:
    packed = bytearray(PACKERS[kind](os.urandom(100_000)))
    with pytest.raises(InvalidArchive):
        whole(_ThatEnds(decompressed(io.BytesIO(packed[:50_000]))))
    packed[1_000:1_200] = bytes(200)
    with pytest.raises(InvalidArchive):
        whole(_ThatEnds(decompressed(io.BytesIO(packed))))


class _ThatEnds:
    """zstd's reader tells a missing end by an early one; what reads a tar sees that it is missing."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._count = 0

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._count += len(data)
        if not data and self._count < 100_000:
            raise InvalidArchive("unexpected EOF")
        return data


def test_zeros_after_a_gzip_stream_are_padding() -> None:
    assert whole(decompressed(io.BytesIO(gzip.compress(b"x") + bytes(1000)))) == b"x"


def test_a_bomb_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "FREE_BYTES", 1 << 20)
    for packed in (gzip.compress(bytes(8 << 20)), zstandard.ZstdCompressor().compress(bytes(8 << 20))):
        with pytest.raises(InvalidArchive, match="expands to more than"):
            whole(decompressed(io.BytesIO(packed)))


def test_gzip_writes_the_same_bytes_each_time() -> None:
    data = b"line\n" * 100_000
    packed = []
    for _ in range(2):
        writer = GzipWriter()
        packed.append(
            b"".join(writer.write(data[at : at + 1000]) for at in range(0, len(data), 1000)) + writer.finish()
        )
    assert packed[0] == packed[1]
    assert gzip.decompress(packed[0]) == data


def test_an_archive_is_written_again_to_the_byte(tmp_path: Path) -> None:
    for number, format in enumerate((0, 1, 2)):  # ustar, GNU, pax
        archive = (
            Archive(format).file("a", os.urandom(5000), mtime=1.5 if format == 2 else 1).dir("d").file("d/.wh.x", b"!")
        )
        data = archive.symlink("l", "a").link("h", "a").file("empty").bytes() + b"trailing bytes"
        files, recipe = stored(gzip.compress(data), tmp_path / str(number))
        assert again(files, recipe) == data
        assert RecipeReader(recipe, files).size() == len(data)


def test_sparse_files_are_written_again_to_the_byte(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for offset in (0, 1 << 20, 3 << 20):
            file.seek(offset)
            file.write(b"data" * 5000)
        file.truncate(4 << 20)
    data = subprocess.run(["tar", "-C", tmp_path, "-cS", "sparse"], capture_output=True, check=True).stdout
    files, recipe = stored(data, tmp_path / "layer")
    assert (files / "sparse").read_bytes() == (tmp_path / "sparse").read_bytes()
    assert again(files, recipe) == data


def test_a_recipe_whose_files_were_replaced_is_given_up(tmp_path: Path) -> None:
    files, recipe = stored(Archive().file("a", b"1").file("a", b"2").bytes(), tmp_path / "layer")
    assert (files / "a").read_bytes() == b"2"
    assert not recipe.exists()


def test_a_file_that_was_cut_is_noticed(tmp_path: Path) -> None:
    files, recipe = stored(Archive().file("a", b"12345").bytes(), tmp_path / "layer")
    os.truncate(files / "a", 2)
    with pytest.raises(SystemFailure):
        again(files, recipe)


def test_packing_tells_what_overlayfs_recorded(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for path in (lower / "d", lower / "e", upper / "d", upper / "new"):
        path.mkdir(parents=True)
    (lower / "gone").touch()
    for name in ("gone", "never"):
        os.mknod(upper / name, 0o020000, 0)
    for name in ("d", "new"):
        os.setxattr(upper / name, "trusted.overlay.opaque", b"y")
    os.setxattr(upper / "d", "trusted.overlay.origin", b"x")
    (upper / "d/f").write_text("1")
    data = whole(Pieces(iter(Packer(upper, [lower]))))
    (tmp_path / "out").mkdir()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["d", "d/.wh..wh..opq", "d/f", ".wh.gone", "new"]
        assert all(not member.pax_headers for member in archive.getmembers())
    unpack(io.BytesIO(data), tmp_path / "out")
    assert tree(tmp_path / "out") == {"d": "directory", "d/f": b"1", "gone": (0, 0), "new": "directory"}


def test_packing_leaves_out_sockets_and_keeps_hard_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    (root / "a").write_bytes(b"data")
    os.link(root / "a", root / "b")
    packer = Packer(root)
    data = whole(Pieces(iter(packer)))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert [(one.name, one.type, one.linkname) for one in archive] == [("a", b"0", ""), ("b", b"1", "a")]
    assert packer.size == 4


def test_directories_may_not_be_nested_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_DEPTH", 3)
    (tmp_path / "root/a/b/c/d").mkdir(parents=True)
    with pytest.raises(SystemFailure, match="nested deeper"):
        whole(Pieces(iter(Packer(tmp_path / "root"))))


NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/f", ".wh.a", "d/.wh.b", "d/.wh..wh..opq", "x" * 120])
STEPS = st.lists(
    st.tuples(st.sampled_from(["file", "dir", "symlink", "link"]), NAMES, st.binary(max_size=600)), max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_was_unpacked_is_packed_and_unpacked_again(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, bytes]]
) -> None:
    archive = Archive()
    for kind, name, data in steps:
        if kind == "file":
            archive.file(name, data)
        elif kind == "dir":
            archive.dir(name)
        elif kind == "symlink":
            archive.symlink(name, "a")
        else:
            archive.link(name, "a")
    place = tmp_path_factory.mktemp("layer")
    data = archive.bytes()
    try:
        files, recipe = stored(data, place / "1")
    except InvalidArchive:
        return
    if recipe.exists():
        assert again(files, recipe) == data
    writer = RecipeWriter(place / "recipe")
    lower = place / "lower"
    for name in ("a", "b", "c", "d/a", "d/b", "d/e/f", "x" * 120):
        (lower / name).parent.mkdir(parents=True, exist_ok=True)
        (lower / name).touch()
    source = Hashed(Pieces(iter(Packer(files, [lower], writer))))
    packed = whole(source)
    writer.close()
    assert source.digest == digest(packed) == digest(again(files, place / "recipe"))
    second, _ = stored(packed, place / "2")
    assert tree(second) == tree(files)
