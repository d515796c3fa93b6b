"""Volumes kept, claimed, filled and removed; no container runs here."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from riverport.engine.api.filters import Filters
from riverport.engine.errors import Conflict, InvalidParameter, NotFound
from riverport.engine.events import Events
from riverport.engine.state import State
from riverport.engine.volumes.local import ANONYMOUS_LABEL
from riverport.engine.volumes.mount_point import MountPoint
from riverport.engine.volumes.volumes import Volumes


class Daemon:
    """Volumes on a directory; `again` is what a new process finds there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.events = Events()
        self.state = State(root / "engine.db")
        self.volumes = Volumes(root / "volumes", root / "scratch", self.state, self.events)
        asyncio.run(self.volumes.start())

    def again(self) -> "Daemon":
        self.state.close()
        return Daemon(self.root)

    def told(self) -> list[tuple[str, str]]:
        async def kept() -> list[tuple[str, str]]:
            told = self.events.subscribe(since_ns=0, until_ns=time.time_ns())
            return [(event.action, event.actor) async for event in told]

        return asyncio.run(kept())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.state.close()


def directories(daemon: Daemon) -> list[str]:
    return sorted(os.listdir(daemon.root / "volumes"))


def test_a_volume_outlives_the_daemon(daemon: Daemon) -> None:
    daemon.volumes.create("data", labels={"a": "b"})
    found = daemon.again().volumes.get("data")
    assert (found.name, found.driver, found.labels, found.options) == ("data", "local", {"a": "b"}, None)


def test_creating_again_finds_the_same_one(daemon: Daemon) -> None:
    first = daemon.volumes.create("data", labels={"a": "b"})
    assert daemon.volumes.create("data") is first
    assert daemon.told() == [("create", "data")]


def test_a_volume_without_a_name_is_anonymous(daemon: Daemon) -> None:
    made = daemon.volumes.create()
    assert (len(made.name), made.labels) == (64, {ANONYMOUS_LABEL: ""})


def test_a_volume_that_a_container_has_is_not_removed(daemon: Daemon) -> None:
    async def run() -> None:
        await daemon.volumes.claim("c1", [MountPoint("volume", "/a", name="data")])
        await daemon.volumes.claim("c2", [MountPoint("volume", "/b", name="data")])
        with pytest.raises(Conflict, match=r"^remove data: volume is in use - \[c1, c2\]$"):
            await daemon.volumes.remove("data", force=True)
        await daemon.volumes.drop("c1", [])
        await daemon.volumes.drop("c2", [])
        await daemon.volumes.remove("data")
        with pytest.raises(NotFound, match=r"^get data: no such volume$"):
            await daemon.volumes.remove("data")
        await daemon.volumes.remove("data", force=True)

    asyncio.run(run())
    assert directories(daemon) == []
    assert daemon.told() == [("create", "data"), ("destroy", "data")]


def test_anonymous_volumes_go_with_their_last_container_and_named_ones_stay(daemon: Daemon) -> None:
    async def run() -> None:
        wanted = [MountPoint("volume", "/a", anonymous=True), MountPoint("volume", "/b", name="data")]
        points = await daemon.volumes.claim("c1", wanted)
        inherited = await daemon.volumes.claim("c2", points)
        await daemon.volumes.drop("c1", points, remove_anonymous=True)
        assert len(daemon.volumes.find()) == 2
        await daemon.volumes.drop("c2", inherited, remove_anonymous=True)

    asyncio.run(run())
    assert [volume.name for volume in daemon.volumes.find()] == directories(daemon) == ["data"]


def test_a_refused_claim_leaves_no_volume(daemon: Daemon) -> None:
    wanted = [MountPoint("volume", "/a", anonymous=True), MountPoint("volume", "/b", name="no/name")]
    with pytest.raises(InvalidParameter):
        asyncio.run(daemon.volumes.claim("c1", wanted))
    assert daemon.volumes.find() == directories(daemon) == []


def test_claims_are_the_same_when_made_again(daemon: Daemon) -> None:
    async def run() -> list[MountPoint]:
        return await daemon.volumes.claim("c1", [MountPoint("volume", "/a", anonymous=True)])

    points = asyncio.run(run())
    later = daemon.again()
    assert asyncio.run(later.volumes.claim("c1", points)) == points
    assert later.told() == []


def test_filters_find_volumes(daemon: Daemon) -> None:
    daemon.volumes.create("first", labels={"a": "1"})
    daemon.volumes.create("second", labels={"a": "2", "b": ""})
    asyncio.run(daemon.volumes.claim("c1", [MountPoint("volume", "/a", name="first")]))

    def names(**wanted: list[str]) -> list[str]:
        return [volume.name for volume in daemon.volumes.find(Filters(wanted))]

    assert names(name=["sec"]) == names(label=["a=2", "b"]) == names(dangling=["true"]) == ["second"]
    assert names(dangling=["false"]) == names(label=["a=1"]) == ["first"]
    assert names(driver=["local"]) == names(name=["^first$", "d$"]) == ["first", "second"]


def test_a_prune_takes_anonymous_volumes_that_nobody_has(daemon: Daemon) -> None:
    async def run() -> tuple[list[str], int]:
        daemon.volumes.create("named")
        unused = daemon.volumes.create()
        (daemon.volumes.source(unused.name) / "file").write_bytes(bytes(1000))
        await daemon.volumes.claim("c1", [MountPoint("volume", "/a", anonymous=True)])
        removed, size = await daemon.volumes.prune()
        assert removed == [unused.name]
        more, _ = await daemon.volumes.prune(Filters({"all": ["true"], "label!": ["keep"]}))
        return more, size

    assert asyncio.run(run()) == (["named"], 1000)
    assert len(daemon.volumes.find()) == 1


def test_usage_counts_a_file_with_two_names_once(daemon: Daemon) -> None:
    data = daemon.volumes.source(daemon.volumes.create("data").name)
    (data / "below").mkdir()
    (data / "below" / "file").write_bytes(bytes(500))
    os.link(data / "below" / "file", data / "again")
    os.symlink("/etc/passwd", data / "link")
    (usage,) = asyncio.run(daemon.volumes.usage())
    assert (usage.volume.name, usage.size, usage.references) == ("data", 500 + len("/etc/passwd"), 0)


def test_the_next_start_clears_away_what_a_kill_has_left(daemon: Daemon) -> None:
    daemon.volumes.create("data")
    place = daemon.root / "volumes"
    (place / "data" / "_filling" / "half").mkdir(parents=True)
    (place / ".going-1" / "_data" / "file").mkdir(parents=True)
    (place / "created" / "_data").mkdir(parents=True)
    later = daemon.again()
    assert directories(later) == ["data"]
    assert os.listdir(place / "data") == ["_data"]


def test_a_directory_that_was_put_back_is_a_volume_again(daemon: Daemon) -> None:
    (daemon.root / "volumes" / "restored" / "_data" / "file").mkdir(parents=True)
    assert [volume.name for volume in daemon.again().volumes.find()] == ["restored"]
    assert [volume.name for volume in daemon.again().volumes.find()] == ["restored"]


# --- filling


@pytest.fixture
def image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    (root / "srv" / "below").mkdir(parents=True)
    (root / "srv" / "file").write_text("text")
    (root / "srv" / "below" / "deep").write_text("deep")
    (root / "data").symlink_to("/srv")
    return root


def fill(daemon: Daemon, image: Path, destination: str, **fields: bool) -> list[str]:
    async def run() -> None:
        point = MountPoint("volume", destination, name="data", **{"copies": True, **fields})
        points = await daemon.volumes.claim("c1", [point])
        if daemon.volumes.wants_copy(points):
            await daemon.volumes.fill("c1", points, image)

    asyncio.run(run())
    return sorted(os.listdir(daemon.volumes.source("data")))


def test_an_empty_volume_gets_what_the_image_has_there(daemon: Daemon, image: Path) -> None:
    (image / "srv").chmod(0o711)
    assert fill(daemon, image, "/data") == ["below", "file"]  # through a link that means the image's /srv
    assert os.listdir(daemon.root / "volumes" / "data") == ["_data"]
    assert daemon.volumes.source("data").stat().st_mode & 0o777 == 0o711


def test_a_volume_with_files_keeps_them_alone(daemon: Daemon, image: Path) -> None:
    (daemon.volumes.source(daemon.volumes.create("data").name) / "own").touch()
    assert fill(daemon, image, "/srv") == ["own"]


@pytest.mark.parametrize("destination", ["/nowhere", "/srv/file", "/srv/file/x"])
def test_where_the_image_has_no_directory_a_volume_stays_empty(daemon: Daemon, image: Path, destination: str) -> None:
    assert fill(daemon, image, destination) == []


def test_nocopy_copies_nothing(daemon: Daemon, image: Path) -> None:
    assert fill(daemon, image, "/srv", copies=False) == []


def test_a_volume_that_a_running_container_has_keeps_its_directory(daemon: Daemon, image: Path) -> None:
    """The container has mounted that directory, and would not see another one of the same name."""

    async def run() -> tuple[int, int]:
        held = await daemon.volumes.claim("running", [MountPoint("volume", "/a", name="data")])
        daemon.volumes.resume("running", held, Path(f"/proc/{os.getpid()}/root"))
        before = daemon.volumes.source("data").stat().st_ino
        points = await daemon.volumes.claim("c1", [MountPoint("volume", "/srv", name="data", copies=True)])
        await daemon.volumes.fill("c1", points, image)
        return before, daemon.volumes.source("data").stat().st_ino

    before, after = asyncio.run(run())
    assert before == after
    assert sorted(os.listdir(daemon.volumes.source("data"))) == ["below", "file"]


def test_a_fill_that_was_killed_is_done_again(daemon: Daemon, image: Path) -> None:
    daemon.volumes.create("data")
    half = daemon.root / "volumes" / "data" / "_filling"
    half.mkdir()
    (half / "file").write_text("te")
    later = daemon.again()
    assert fill(later, image, "/srv") == ["below", "file"]
    assert (later.volumes.source("data") / "file").read_text() == "text"
