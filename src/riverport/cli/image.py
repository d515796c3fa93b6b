"""`riverport image bootstrap`: small base images out of what the machine has, where no registry is in reach."""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from riverport.cli.command import Problem, guarded, make_parser
from riverport.cli.engine_api import DEFAULT_HOST, HOST_VARIABLE, EngineApi
from riverport.cli.terminal import Progress, print_json, size_text

EXAMPLES: Final = (
    "riverport image bootstrap                        # busybox:latest, out of this machine's busybox",
    "riverport image bootstrap busybox --tag alpine:3.10 --tag hello-world",
    "riverport image bootstrap debian --include python3-minimal --tag python:3.11-slim",
    "riverport image bootstrap busybox --output busybox.tar    # for docker import",
)
_CHUNK: Final = 1 << 20


def parser() -> argparse.ArgumentParser:
    made = make_parser("image", "Base images without a registry.", EXAMPLES)
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    boot = verbs.add_parser("bootstrap", help="make a base image out of what this machine has", allow_abbrev=False)
    boot.add_argument(
        "kind",
        nargs="?",
        default="busybox",
        choices=("busybox", "debian"),
        help="busybox (default): one static program; debian: what debootstrap fetches, needs root",
    )
    boot.add_argument("--tag", action="append", metavar="NAME", help="a name of the image; may be given several times")
    boot.add_argument("--include", action="append", default=[], metavar="PACKAGE", help="debian: packages beside")
    boot.add_argument("--suite", default="", help="debian: bookworm, trixie …; that of this machine if not given")
    boot.add_argument("--mirror", default="", metavar="URL", help="debian: its mirror; apt's if not given")
    host = f"the engine (${HOST_VARIABLE}, else {DEFAULT_HOST})"
    boot.add_argument("-H", "--host", default="", metavar="URL", help=host)
    boot.add_argument("--output", type=Path, metavar="FILE", help="write the files as a tar, import nothing")
    boot.add_argument("--json", action="store_true", help="print one JSON document")
    return made


def run(words: list[str]) -> int:
    given = parser().parse_args(words)
    return guarded(lambda: _bootstrap(given))


def _bootstrap(given: argparse.Namespace) -> None:
    import tempfile

    began = time.monotonic()
    engine = None if given.output else EngineApi(given.host)
    if engine is not None:
        engine.request("GET", "/_ping")  # before the minutes that debootstrap takes
    with tempfile.TemporaryFile() as tar:
        names, changes = (_busybox if given.kind == "busybox" else _debian)(given, tar)
        size = tar.tell()
        tar.seek(0)
        if engine is None:
            _write(given.output, tar, size)
            made: dict[str, object] = {"file": str(given.output)}
        else:
            made = {"id": _import(engine, tar, size, names, changes), "names": names}
    took = time.monotonic() - began
    if given.json:
        print_json({**made, "bytes": size, "seconds": round(took, 3)})
    else:
        print(f"{given.output or ', '.join(names)}: {size_text(size)} in {took:.1f} s")


def _write(path: Path, tar: IO[bytes], size: int) -> None:
    with Progress("writing", size, size_text) as progress, open(path, "wb") as file:
        file.writelines(_chunks(tar, progress))


def _import(engine: EngineApi, tar: IO[bytes], size: int, names: list[str], changes: tuple[str, ...]) -> str:
    with Progress("importing", size, size_text) as progress:
        image = engine.import_image(_chunks(tar, progress), names[0], changes)
    for name in names[1:]:
        engine.tag(names[0], name)
    return image


def _busybox(given: argparse.Namespace, tar: IO[bytes]) -> tuple[list[str], tuple[str, ...]]:
    from riverport.engine.bootstrap import busybox

    try:
        program = busybox.find()
    except busybox.NoBusybox as problem:
        raise Problem(str(problem), "apt-get install busybox-static, or apk add busybox-static") from problem
    tar.write(busybox.image_tar(program.read_bytes(), busybox.applets(program)))
    return given.tag or ["busybox:latest"], busybox.CHANGES


def _debian(given: argparse.Namespace, tar: IO[bytes]) -> tuple[list[str], tuple[str, ...]]:
    import tempfile

    from riverport.engine.bootstrap import debian

    if os.geteuid() != 0:
        raise Problem("debootstrap needs root")
    packages = [name for entry in given.include for name in entry.split(",") if name]
    try:
        wanted = debian.source(given.suite, given.mirror)
        with tempfile.TemporaryDirectory(prefix="riverport-debian-") as tree:
            Path(tree).chmod(0o755)  # it becomes the image's /
            with Progress(f"debootstrap {wanted.suite}", debian.STEPS) as progress:
                for _ in debian.build(Path(tree), wanted, packages):
                    progress.add(1)
            debian.write_tar(Path(tree), tar)
    except debian.NoDebian as problem:
        raise Problem(str(problem)) from problem
    return given.tag or [f"debian:{wanted.suite}", "debian:latest"], debian.CHANGES


def _chunks(file: IO[bytes], progress: Progress) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
        progress.add(len(chunk))
