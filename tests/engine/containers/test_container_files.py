"""cp both ways, export, diff, commit, against a daemon: volumes are seen through and links lead nowhere else."""

import base64
import bz2
import gzip
import io
import json
import lzma
import stat
import tarfile
from http.client import HTTPMessage
from typing import Any
from urllib.parse import quote

import pytest
import zstandard
from tests.engine.containers.streams import create, inspect, run, wait
from tests.engine.harness import Engine

from riverport.cli.unix_http import UnixConnection


def archive(files: dict[str, bytes | None], **settings: int) -> bytes:
    """A tar; None is a directory, and a name with an arrow a symbolic link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            path, _, target = name.partition("->")
            entry = tarfile.TarInfo(path)
            entry.mode = 0o755 if content is None else 0o640
            for key, value in settings.items():
                setattr(entry, key, value)
            if target:
                entry.type, entry.linkname = tarfile.SYMTYPE, target
            elif content is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content or b""))
    return out.getvalue()


def put(engine: Engine, container: str, path: str, data: bytes, query: str = "") -> tuple[int, Any]:
    return engine.api("PUT", f"/containers/{container}/archive?path={quote(path)}{query}", data)


def get(engine: Engine, container: str, path: str) -> dict[str, tarfile.TarInfo | bytes]:
    """Names of an archive's entries, with the content of regular files."""
    status, data = engine.api("GET", f"/containers/{container}/archive?path={quote(path)}")
    assert status == 200, data
    found: dict[str, tarfile.TarInfo | bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.isreg() else None
            found[entry.name] = file.read() if file else entry
    return found


def path_stat(engine: Engine, container: str, path: str) -> dict[str, Any]:
    connection = UnixConnection(str(engine.place.socket), 30)
    try:
        connection.request("HEAD", f"/containers/{container}/archive?path={quote(path)}")
        answer = connection.getresponse()
        headers: HTTPMessage = answer.headers
        assert answer.status == 200
        return dict(json.loads(base64.b64decode(headers["X-Docker-Container-Path-Stat"])))
    finally:
        connection.close()


@pytest.fixture
def furnished(engine: Engine) -> str:
    """A stopped container with files of every kind."""
    container = run(
        engine, "sh", "-c",
        "mkdir -p /a/b; echo x >/a/f; chmod 4750 /a/f; ln -s f /a/l; ln -s /etc/passwd /a/abs;"
        "ln -s ../../../../etc /a/up; mkfifo /a/p; ln /a/f /a/h; ln -s b /a/dirlink; echo deep >/a/b/c",
        name="files")  # fmt: skip
    assert wait(engine, container) == 0
    return container


def test_what_lies_at_a_path_is_told_in_gos_words(engine: Engine, furnished: str) -> None:
    found = path_stat(engine, "files", "/a")
    assert (found["name"], found["mode"], found["linkTarget"]) == ("a", 0o755 | 1 << 31, "")
    found = path_stat(engine, "files", "/a/f")
    assert (found["size"], found["mode"]) == (2, 0o750 | 1 << 23)
    found = path_stat(engine, "files", "a/l")
    assert (found["mode"] >> 27 & 1, found["linkTarget"]) == (1, "/a/f")
    assert path_stat(engine, "files", "/a/up")["linkTarget"] == "/etc"
    assert path_stat(engine, "files", "/a/dirlink/")["mode"] >> 31 == 1
    assert path_stat(engine, "files", "/a/p")["mode"] >> 25 & 1 == 1
    assert path_stat(engine, "files", "/")["name"] == "/"


def test_a_directory_comes_under_its_own_name_and_its_content_without(engine: Engine, furnished: str) -> None:
    whole = get(engine, "files", "/a")
    assert set(whole) == {"a", *(f"a/{name}" for name in ("abs", "b", "b/c", "dirlink", "f", "h", "l", "p", "up"))}
    assert whole["a/f"] == b"x\n"
    assert whole["a/h"].islnk()  # type: ignore[union-attr]
    assert whole["a/up"].linkname == "../../../../etc"  # type: ignore[union-attr]
    assert set(get(engine, "files", "/a/b/.")) == {".", "./c"}
    assert get(engine, "files", "/a/f") == {"f": b"x\n"}
    assert get(engine, "files", "/a/l")["l"].linkname == "f"  # type: ignore[union-attr]


def test_paths_that_lead_nowhere(engine: Engine, furnished: str) -> None:
    for path in ("/nope", "/a/f/x", "/a/nope/x"):
        for method in ("GET", "HEAD", "PUT"):
            status, answer = engine.api(method, f"/containers/files/archive?path={path}", archive({}))
            assert status == 404
            if method != "HEAD":
                assert answer == {"message": f"Could not find the file {path} in container files"}
    status, answer = put(engine, "files", "/a/f", archive({"x": b""}))
    assert (status, answer["message"]) == (400, "extraction point is not a directory")
    assert engine.api("GET", "/containers/files/archive")[0] == 400


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress],
    ids=["plain", "gzip", "bzip2", "xz", "zstd"])  # fmt: skip
def test_archives_are_unpacked_in_any_compression(engine: Engine, pack: Any) -> None:
    container = create(engine, "true")
    data = archive({"d": None, "d/f": b"content", "l->d/f": b""}, uid=7, gid=8)
    assert put(engine, container, "/tmp", pack(data)) == (200, b"")
    found = get(engine, container, "/tmp/.")
    assert found["./d/f"] == b"content"
    assert (found["./d"].uid, found["./d"].gid) == (7, 8)  # type: ignore[union-attr]


def test_entries_do_not_leave_the_container(engine: Engine) -> None:
    container = create(engine, "true")
    assert put(engine, container, "/tmp", archive({"out->/../../../../..": b"", "out/etc/planted": b"x"}))[0] == 200
    assert get(engine, container, "/etc/planted") == {"planted": b"x"}
    status, _ = put(engine, container, "/tmp", archive({"../../../escaped": b"x"}))
    assert status == 400


def test_kinds_are_kept_where_the_client_wants_that(engine: Engine) -> None:
    container = create(engine, "true")
    put(engine, container, "/tmp", archive({"d": None, "f": b""}))
    status, answer = put(engine, container, "/tmp", archive({"d": b"file"}), "&noOverwriteDirNonDir=true")
    assert (status, "cannot overwrite directory" in answer["message"]) == (400, True)
    status, answer = put(engine, container, "/tmp", archive({"f": None}), "&noOverwriteDirNonDir=true")
    assert (status, "cannot overwrite non-directory" in answer["message"]) == (400, True)
    assert put(engine, container, "/tmp", archive({"f": None}))[0] == 200


def test_owners_are_the_containers_where_the_client_wants_that(engine: Engine) -> None:
    container = create(engine, "true", User="postgres")
    put(engine, container, "/tmp", archive({"f": b"x"}, uid=1, gid=1), "&copyUIDGID=true")
    assert engine.cli("cp", f"{container}:/tmp/f", "-").stdout.count("0000106") == 2  # 70, octal, twice


def test_what_is_no_archive_is_refused(engine: Engine) -> None:
    container = create(engine, "true")
    assert put(engine, container, "/tmp", b"no archive at all" * 100)[0] == 400
    assert put(engine, container, "/tmp", archive({"f": b"x" * 5000})[:3000])[0] == 400


@pytest.mark.parametrize("runs", [False, True])
def test_volumes_are_seen_through_whether_it_runs_or_not(engine: Engine, runs: bool) -> None:
    make = run if runs else create
    container = make(engine, "sleep", "1000", HostConfig={"Binds": ["vol:/data/deep", "ro:/ro:ro"]})
    assert put(engine, container, "/data", archive({"deep/f": b"in the volume", "g": b"beside"}))[0] == 200
    assert engine.cli("run", "--rm", "-v", "vol:/v", "busybox", "cat", "/v/f").stdout == "in the volume"
    assert get(engine, container, "/data")["data/deep/f"] == b"in the volume"
    status, answer = put(engine, container, "/ro", archive({"f": b"x"}))
    assert (status, answer["message"]) == (403, "mounted volume is marked read-only")
    if runs:
        assert engine.cli("exec", container, "cat", "/data/deep/f", "/data/g").stdout == "in the volumebeside"


def test_a_read_only_root_takes_nothing_but_its_volumes_do(engine: Engine) -> None:
    container = create(engine, "true", HostConfig={"ReadonlyRootfs": True, "Binds": ["vol:/data"]})
    status, answer = put(engine, container, "/tmp", archive({"f": b"x"}))
    assert (status, answer["message"]) == (403, "container rootfs is marked read-only")
    assert put(engine, container, "/data", archive({"f": b"x"}))[0] == 200


def test_cp_of_the_cli_both_ways(engine: Engine, furnished: str, tmp_path: Any) -> None:
    engine.cli("cp", "files:/a/b", str(tmp_path))
    assert (tmp_path / "b" / "c").read_text() == "deep\n"
    (tmp_path / "b" / "new").write_text("new")
    engine.cli("cp", str(tmp_path / "b"), "files:/a/copied")
    engine.cli("cp", "files:/a/copied/new", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "new"
    engine.cli("cp", "-L", "files:/a/l", str(tmp_path / "followed"))
    assert stat.S_ISREG((tmp_path / "followed").lstat().st_mode)


def test_export_holds_the_containers_own_files(engine: Engine) -> None:
    container = run(engine, "sh", "-c", "echo x >/own; echo y >/v/volume", HostConfig={"Binds": ["vol:/v"]})
    wait(engine, container)
    _, data = engine.api("GET", f"/containers/{container}/export")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = set(tar.getnames())
    assert {"own", "bin/busybox", "v", ".dockerenv"} <= names
    assert "v/volume" not in names


def test_changes_are_told_by_kind(engine: Engine) -> None:
    unchanged = create(engine, "true")
    assert engine.api("GET", f"/containers/{unchanged}/changes") == (200, None)
    container = run(engine, "sh", "-c", "rm /etc/group; echo x >/etc/new; touch /etc/passwd")
    wait(engine, container)
    found = {change["Path"]: change["Kind"] for change in engine.api("GET", f"/containers/{container}/changes")[1]}
    assert found == {"/etc": 0, "/etc/group": 2, "/etc/new": 1, "/etc/passwd": 0}


def test_a_container_becomes_an_image(engine: Engine) -> None:
    container = run(engine, "sh", "-c", "echo x >/own", name="source", Env=["A=1"], Labels={"l": "1"})
    wait(engine, container)
    changes = ["--change", 'CMD ["cat","/own"]', "--change", "ENV B=2", "--change", "WORKDIR /tmp"]
    engine.cli("commit", "-m", "why", "-a", "who", *changes, "source", "made:1")
    image = engine.api("GET", "/images/made:1/json")[1]
    assert (image["Comment"], image["Author"], image["Config"]["WorkingDir"]) == ("why", "who", "/tmp")
    assert {"A=1", "B=2"} <= set(image["Config"]["Env"])
    assert engine.cli("run", "--rm", "made:1").stdout == "x\n"
    status, answer = engine.api("POST", "/commit?container=source&changes=RUN%20x", {})
    assert (status, "run is not a valid change command" in answer["message"].lower()) == (400, True)
    engine.api("DELETE", "/images/made:1")


def test_a_running_container_is_paused_for_a_commit_and_goes_on(engine: Engine) -> None:
    container = run(engine, "sleep", "1000")
    status, _ = engine.api("POST", f"/commit?container={container}", {})
    assert status == 201
    state: Any = inspect(engine, container)["State"]
    assert (state["Running"], state["Paused"]) == (True, False)
