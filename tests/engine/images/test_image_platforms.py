"""An image for another platform, and what every request about images makes of `platform` and `manifests`."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest
from tests.engine.harness import Engine

from riverport.engine.images.progress import STEP_BYTES

AMD = '{"os":"linux","architecture":"amd64"}'
FOREIGN = '{"os":"linux","architecture":"s390x"}'
MISMATCH = (
    "image with reference {} was found but its platform (linux/s390x) "
    "does not match the specified platform (linux/amd64)"
)
NO_JSON = "failed to parse platform: invalid character 'l' looking for beginning of value"
NO_TARGET = "no suitable export target found for platform linux/amd64"
REQUESTS = [
    ("GET", "/images/foreign/json", (1, 49)),
    ("GET", "/images/foreign/history", (1, 48)),
    ("GET", "/images/foreign/get", (1, 48)),
    ("GET", "/images/get?names=foreign", (1, 48)),
    ("POST", "/images/load", (1, 48)),
    ("POST", "/images/127.0.0.1:1%2Fforeign/push?tag=1", (1, 46)),
]


@pytest.fixture
def foreign(engine: Engine) -> Iterator[Engine]:
    """An image `foreign:latest` for linux/s390x."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        file = tarfile.TarInfo("file")
        file.size = 2 * STEP_BYTES  # enough to hear how far it is
        tar.addfile(file, io.BytesIO(bytes(file.size)))
    status, said = engine.api(
        "POST", "/images/create?fromSrc=-&repo=foreign&platform=linux/s390x", archive.getvalue(), {}
    )
    assert status == 200, said
    engine.cli("tag", "foreign", "127.0.0.1:1/foreign:1")
    yield engine
    for name in ("foreign", "127.0.0.1:1/foreign:1"):
        engine.cli("rmi", "-f", name, check=False)


def get(engine: Engine, path: str, platform: str = "", version: str = "1.50", method: str = "GET") -> tuple[int, str]:
    """The status, and the message if there is one, else all that was answered."""
    mark = "&" if "?" in path else "?"
    query = f"{mark}platform={quote(platform)}" if platform else ""
    status, answer = engine.api(method, f"/v{version}{path}{query}")
    if isinstance(answer, bytes):
        return status, answer.decode(errors="replace")
    is_refused = isinstance(answer, dict) and "message" in answer
    return status, answer["message"] if is_refused else json.dumps(answer)


@pytest.mark.parametrize(("method", "path", "since"), REQUESTS)
def test_a_malformed_platform_is_refused_by_the_apis_that_know_it(
    foreign: Engine, method: str, path: str, since: tuple[int, int]
) -> None:
    version = f"{since[0]}.{since[1]}"
    assert get(foreign, path, "linux/amd64", version, method) == (400, NO_JSON)
    before = f"{since[0]}.{since[1] - 1}"
    status, said = get(foreign, path, "linux/amd64", before, method)
    assert (status == 200, NO_JSON in said) == (True, False), said


@pytest.mark.parametrize("path", ["/images/{}/json", "/images/{}/history"])
@pytest.mark.parametrize(
    ("name", "shown"), [("foreign", "foreign"), ("docker.io%2Flibrary%2Fforeign:latest", "foreign:latest")]
)
def test_an_image_for_another_platform_is_not_the_one_that_was_meant(
    foreign: Engine, path: str, name: str, shown: str
) -> None:
    assert get(foreign, path.format(name), AMD) == (404, MISMATCH.format(shown))
    status, said = get(foreign, path.format(name), FOREIGN)
    assert status == 200, said


def test_of_an_image_with_all_platforms_or_with_one_only_one_can_be_asked_for(foreign: Engine) -> None:
    conflict = "conflicting options: manifests and platform options cannot both be set"
    assert get(foreign, "/images/foreign/json?manifests=1", FOREIGN) == (400, conflict)
    status, said = get(foreign, "/images/foreign/json?manifests=0", FOREIGN)
    assert status == 200
    assert json.loads(get(foreign, "/images/foreign/json?manifests=1")[1]) == json.loads(said)
    assert "Manifests" not in json.loads(said)


def test_a_list_with_manifests_is_one_without(foreign: Engine) -> None:
    """As with every store that keeps images and not indexes."""
    for version in ("1.46", "1.50"):
        rows = json.loads(get(foreign, "/images/json?manifests=1", version=version)[1])
        assert rows == json.loads(get(foreign, "/images/json", version=version)[1])
        assert not any("Manifests" in row or "Descriptor" in row for row in rows)


@pytest.mark.parametrize("path", ["/images/foreign/get", "/images/get?names=foreign&names=busybox"])
def test_an_image_is_saved_for_the_platform_that_it_is_for(foreign: Engine, path: str) -> None:
    assert get(foreign, path, AMD) == (500, NO_TARGET)
    twice = f"{path}{'&' if '?' in path else '?'}platform={quote(FOREIGN)}"
    assert get(foreign, twice, FOREIGN) == (400, "multiple platform parameters not supported")


def test_only_images_for_the_platform_are_loaded(foreign: Engine, tmp_path: Path) -> None:
    """Of which there may be none; nothing is said then."""
    archive = tmp_path / "images.tar"
    foreign.cli("save", "-o", str(archive), "foreign", "busybox")
    foreign.cli("rmi", "foreign")
    body = archive.read_bytes()
    for platform, said in (
        (FOREIGN, ["Loaded image: foreign:latest\n"]),
        ('{"os":"linux","architecture":"riscv64"}', []),
    ):
        status, answer = foreign.api("POST", f"/images/load?platform={quote(platform)}", body, {})
        assert status == 200
        lines = [answer] if isinstance(answer, dict) else [json.loads(line) for line in (answer or b"").splitlines()]
        assert [line["stream"] for line in lines] == said


def test_the_progress_of_a_load_is_for_those_who_want_it(foreign: Engine, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    foreign.cli("save", "-o", str(archive), "foreign")
    for query, is_quiet in (("", True), ("?quiet=1", True), ("?quiet=0", False)):
        foreign.cli("rmi", "-f", "foreign", "127.0.0.1:1/foreign:1", check=False)
        status, answer = foreign.api("POST", f"/images/load{query}", archive.read_bytes(), {})
        assert status == 200
        assert ("Loading layer" not in str(answer)) == is_quiet, answer


def test_an_image_for_another_platform_is_neither_pushed_nor_removed(foreign: Engine) -> None:
    name = "127.0.0.1:1/foreign:1"
    status, said = get(foreign, "/images/127.0.0.1:1%2Fforeign/push?tag=1", AMD, method="POST")
    assert (status, said) == (404, MISMATCH.format(name))
    for query, status, said in (
        (f"platforms={quote(AMD)}", 404, MISMATCH.format(name)),
        (f"platforms={quote(FOREIGN)}&platforms={quote(AMD)}", 400, "multiple platforms are not supported"),
        ("platforms=linux", 400, NO_JSON),
    ):
        path = f"/images/{quote(name, safe=':')}?{query}"
        assert get(foreign, path, method="DELETE") == (status, said)
    assert get(foreign, f"/images/{quote(name, safe=':')}?platforms=x", version="1.49", method="DELETE")[0] == 200


def test_the_docker_command_with_platforms(foreign: Engine, tmp_path: Path) -> None:
    def refused(*words: str) -> str:
        done = foreign.cli(*words, check=False)
        assert done.returncode != 0, words
        return done.stderr.strip()

    wrong = "Error response from daemon: " + MISMATCH.format("foreign")
    assert refused("image", "inspect", "--platform", "linux/amd64", "foreign").endswith(MISMATCH.format("foreign"))
    assert refused("history", "--platform", "linux/amd64", "foreign") == wrong
    saved = tmp_path / "image.tar"
    assert refused("save", "--platform", "linux/amd64", "-o", str(saved), "foreign").endswith(NO_TARGET)
    pushed = refused("push", "--platform", "linux/amd64", "127.0.0.1:1/foreign:1")
    assert MISMATCH.format("127.0.0.1:1/foreign:1") in pushed
    shown = foreign.cli("image", "inspect", "--platform", "linux/s390x", "--format", "{{.Architecture}}", "foreign")
    assert shown.stdout == "s390x\n"
    assert len(foreign.cli("history", "--platform", "linux/s390x", "-q", "foreign").stdout.split()) == 1
    foreign.cli("save", "--platform", "linux/s390x", "-o", str(saved), "foreign")
    assert foreign.cli("load", "--platform", "linux/amd64", "-i", str(saved)).stdout == ""
    loaded = foreign.cli("load", "--platform", "linux/s390x", "-i", str(saved)).stdout
    assert loaded == "Loaded image: foreign:latest\n"
    tree = foreign.cli("image", "ls", "--tree").stdout
    assert "foreign:latest" in tree
    assert "linux/s390x" not in tree  # only indexes have platforms to show


def test_a_container_of_an_image_for_another_platform(foreign: Engine) -> None:
    def create(query: str = "", version: str = "1.50") -> tuple[int, dict[str, object]]:
        return foreign.api("POST", f"/v{version}/containers/create?{query}", {"Image": "foreign", "Cmd": ["x"]})

    status, answer = create("platform=linux/amd64")
    assert (status, answer) == (404, {"message": MISMATCH.format("foreign")})
    status, answer = create("platform=linux/s390x")
    assert (status, answer["Warnings"]) == (201, [])
    status, answer = create("platform=a/b/c/d")
    assert (status, answer["message"]) == (400, '"a/b/c/d": cannot parse platform specifier: invalid argument')
    for query, version in (("", "1.50"), ("platform=a/b/c/d", "1.40")):
        status, answer = create(query, version)
        (warning,) = cast(list[str], answer["Warnings"])
        beginning = (
            "The requested image's platform (linux/s390x) does not match the detected host platform (linux/amd64"
        )
        assert (status, warning.startswith(beginning)) == (201, True)
