"""Base images without a registry: what goes into them, what stays out, and that one runs."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.engine.harness import Engine

from riverport.engine.bootstrap import busybox, debian


def entries(tar: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return {entry.name: entry for entry in opened.getmembers()}


def test_a_busybox_image_has_its_program_under_every_name() -> None:
    found = entries(busybox.image_tar(b"program", ["cat", "sh"]))
    assert found["bin/busybox"].mode == 0o755
    assert {found[f"bin/{name}"].linkname for name in ("cat", "sh")} == {"busybox"}
    assert (found["tmp"].mode, found["root"].mode, found["etc/shadow"].mode) == (0o1777, 0o700, 0o600)


def test_the_image_is_the_same_bytes_each_time() -> None:
    first, second = (busybox.image_tar(b"program", ["cat", "sh"]) for _ in range(2))
    assert first == second


def test_users_of_an_image_have_names() -> None:
    tar = busybox.image_tar(b"program", [], {"root": 0, "postgres": 70})
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        passwd = opened.extractfile("etc/passwd")
        assert passwd is not None
        assert passwd.read() == b"root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70:postgres:/home:/bin/false\n"


@pytest.mark.parametrize("program", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01"])
def test_what_is_no_static_program_of_this_machine_is_refused(program: bytes) -> None:
    assert not busybox.is_static(program + bytes(100))


def test_this_python_needs_libraries_or_says_that_it_does_not() -> None:
    listed = subprocess.run(["ldd", sys.executable], capture_output=True, text=True)
    assert busybox.is_static(Path(sys.executable).resolve().read_bytes()) == (listed.returncode != 0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://d/debian-security/ bookworm-security\nhttp://d/debian/ bookworm\nhttp://d/debian/ bookworm-updates\n",
         debian.Source("http://d/debian", "bookworm")),
        ("", None),
        ("http://deb/debian-security/ bookworm-security\n", None),
    ],
)  # fmt: skip
def test_a_mirror_is_the_one_that_apt_uses(text: str, found: debian.Source | None) -> None:
    assert debian.parse_targets(text) == found


@pytest.mark.parametrize(
    ("path", "left_out"),
    [
        ("var/cache/apt/archives/a.deb", True),
        ("var/cache/apt", False),
        ("var/lib/apt/lists/deb_Packages", True),
        ("usr/share/doc/bash/changelog.gz", True),
        ("usr/share/doc/bash/copyright", False),
        ("usr/share/doc/bash", False),
        ("usr/share/man/man1/ls.1", True),
        ("usr/share/manners", False),
        ("proc/1/cmdline", True),
        ("proc", False),
        ("usr/lib/python3/a.pyc", True),
        ("debootstrap/debootstrap.log", True),
    ],
)
def test_caches_and_documentation_stay_out_and_licences_stay_in(path: str, left_out: bool) -> None:
    assert debian.is_left_out(path) == left_out


def test_a_tree_becomes_a_tar_without_what_the_machine_is_called(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("hostname", "resolv.conf", "passwd"):
        (tmp_path / "etc" / name).touch()
    written = io.BytesIO()
    debian.write_tar(tmp_path, written)
    assert set(entries(written.getvalue())) == {".", "./etc", "./etc/passwd"}


def test_a_wrong_suite_reaches_no_command_line() -> None:
    with pytest.raises(debian.NoDebian, match="is no suite of Debian"):
        debian.source("--foreign", "http://deb/debian")


def test_a_bootstrapped_image_runs(engine: Engine) -> None:
    words = [sys.executable, "-m", "riverport", "image", "bootstrap", "--tag", "mine:1", "--tag", "mine:2", "--json"]
    done = subprocess.run(words, env=engine.environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["names"] == ["mine:1", "mine:2"]
    assert engine.cli("run", "--rm", "mine:2", "sh", "-c", "echo $((6 * 7))").stdout == "42\n"
    engine.cli("rmi", "mine:1", "mine:2")
