"""Debian's smallest system, as debootstrap makes it from the mirror that this machine's apt uses.

Caches, logs, lists of packages, documentation and translations are left out: a container reads none of them, and apt
fetches its lists again.
"""

import os
import re
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

CHANGES: Final = ('CMD ["bash"]',)
STEPS: Final = 460
"""Lines that debootstrap prints for bookworm: five for each of some ninety packages."""
_LEFT_OUT: Final = re.compile(
    r"(dev|proc|sys|run|tmp|var/tmp|var/log|var/cache/(apt|debconf|man)|var/lib/apt/lists)/.+"
    r"|usr/share/(man|info|locale|lintian)/.+|debootstrap(/.*)?|usr/share/doc/.*/(?!copyright$)[^/]+|.*\.pyc"
)
_OF_THE_MACHINE: Final = ("etc/hostname", "etc/resolv.conf", "etc/machine-id")
_SUITE: Final = re.compile(r"[a-z][a-z0-9.-]*")


class NoDebian(Exception):
    """debootstrap could not make a system here; its own words."""


@dataclass(slots=True, frozen=True)
class Source:
    mirror: str
    suite: str


def source(suite: str = "", mirror: str = "") -> Source:
    """Where a system comes from: what apt uses, unless told otherwise. Raises NoDebian."""
    if not (suite and mirror):
        known = parse_targets(_output(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)"]))
        if known is None and not mirror:
            raise NoDebian("apt names no mirror of Debian: give one with --mirror")
        mirror = mirror or (known.mirror if known else "")
        suite = suite or (known.suite if known else "stable")
    if not _SUITE.fullmatch(suite):
        raise NoDebian(f"{suite!r} is no suite of Debian, such as bookworm")
    return Source(mirror, suite)


def parse_targets(text: str) -> Source | None:
    """The first of apt's sources that is a whole distribution and not its updates."""
    for line in text.splitlines():
        uri, _, codename = line.partition(" ")
        if uri and codename and not codename.partition("-")[2]:
            return Source(uri.rstrip("/"), codename)
    return None


def build(tree: Path, wanted: Source, packages: Sequence[str]) -> Iterator[str]:
    """Make a system in the empty directory `tree`; yields debootstrap's lines. Needs root. Raises NoDebian."""
    # What it mounts in the tree must be gone before anybody removes the tree, however it ends.
    words = ["unshare", "--mount", "--propagation", "private", "debootstrap", "--variant=minbase"]
    if shutil.which("debootstrap") is None:
        raise NoDebian("there is no debootstrap: apt-get install debootstrap")
    if packages:
        words.append(f"--include={','.join(packages)}")
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    last = ""
    try:
        running = subprocess.Popen(
            [*words, wanted.suite, str(tree), wanted.mirror],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise NoDebian(f"there is no {words[0]}") from error
    try:
        assert running.stdout is not None
        for line in running.stdout:
            last = line.strip() or last
            yield line.strip()
        if running.wait() != 0:
            raise NoDebian(f"debootstrap of {wanted.suite} from {wanted.mirror}: {last or 'it failed'}")
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def write_tar(tree: Path, to: IO[bytes]) -> None:
    """The image's files, without what is left out."""
    with tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        tar.add(tree, arcname=".", filter=_filtered)


def is_left_out(path: str) -> bool:
    return _LEFT_OUT.fullmatch(path) is not None


def _filtered(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    path = entry.name.removeprefix("./")
    return None if is_left_out(path) or path in _OF_THE_MACHINE else entry


def _output(words: Sequence[str]) -> str:
    try:
        return subprocess.run(words, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ""
