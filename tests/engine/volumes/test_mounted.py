"""What is mounted beforehand in a shim's namespace; a process that holds a namespace stands for the shim."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from riverport.engine.errors import InvalidParameter, SystemFailure
from riverport.engine.events import Events
from riverport.engine.state import State
from riverport.engine.volumes.mount_point import MountPoint
from riverport.engine.volumes.volumes import Volumes
from riverport.testing import isolation

pytestmark = pytest.mark.containers


@pytest.fixture
def shim() -> Iterator[isolation.Isolation]:
    lacking = isolation.missing()
    if lacking:
        pytest.skip(lacking)
    with isolation.Isolation() as made:
        yield made


@pytest.fixture
def other_shim(shim: isolation.Isolation) -> Iterator[isolation.Isolation]:
    with isolation.Isolation() as made:
        yield made


@pytest.fixture
def volumes(tmp_path: Path) -> Iterator[Volumes]:
    state = State(tmp_path / "engine.db")
    layers = [tmp_path / "upper", tmp_path / "lower"]
    for layer in layers:
        (layer / "srv").mkdir(parents=True)
        (layer / "srv" / layer.name).touch()
    made = Volumes(tmp_path / "volumes", tmp_path / "scratch", state, Events(), lambda _: layers)
    asyncio.run(made.start())
    yield made
    state.close()


def start(volumes: Volumes, container: str, shim: isolation.Isolation, *points: MountPoint) -> list[str]:
    """The sources that the runtime is given."""

    async def run() -> list[str]:
        claimed = await volumes.claim(container, points)
        root = Path(f"/proc/{shim.pid}/root")
        return [mount["source"] for mount in await volumes.acquire(container, claimed, root / "nowhere")]

    return asyncio.run(run())


def inside(shim: isolation.Isolation, path: str | Path) -> Path:
    return Path(f"/proc/{shim.pid}/root{path}")


MEMORY = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=700"}


def test_a_volume_in_memory_is_mounted_for_its_container_alone(volumes: Volumes, shim: isolation.Isolation) -> None:
    volumes.create("data", options=MEMORY)
    (source,) = start(volumes, "c1", shim, MountPoint("volume", "/data", name="data"))
    (inside(shim, source) / "file").touch()
    assert list(Path(source).iterdir()) == []


def test_containers_of_one_volume_in_memory_see_each_others_files(
    volumes: Volumes, shim: isolation.Isolation, other_shim: isolation.Isolation
) -> None:
    volumes.create("data", options=MEMORY)
    point = MountPoint("volume", "/data", name="data")
    (source,) = start(volumes, "c1", shim, point)
    (inside(shim, source) / "file").write_text("text")
    start(volumes, "c2", other_shim, point)
    assert (inside(other_shim, source) / "file").read_text() == "text"


def test_a_volume_that_cannot_be_mounted_says_why(volumes: Volumes, shim: isolation.Isolation) -> None:
    volumes.create("data", options={"type": "none", "device": "/nowhere", "o": "bind"})
    with pytest.raises(SystemFailure, match=r"failed to mount local volume: mount /nowhere:/\S+, flags: 0x1000: no su"):
        start(volumes, "c1", shim, MountPoint("volume", "/data", name="data"))


def test_a_directory_of_the_host_as_a_volume_gets_the_images_files(
    volumes: Volumes, shim: isolation.Isolation, tmp_path: Path
) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "image" / "data" / "file").mkdir(parents=True)
    volumes.create("data", options={"type": "none", "device": str(tmp_path / "host"), "o": "bind"})

    async def run() -> None:
        points = await volumes.claim("c1", [MountPoint("volume", "/data", name="data", copies=True)])
        await volumes.acquire("c1", points, inside(shim, tmp_path / "image"))

    asyncio.run(run())
    assert [path.name for path in (tmp_path / "host").iterdir()] == ["file"]


def test_a_part_of_a_volume_is_mounted(volumes: Volumes, shim: isolation.Isolation) -> None:
    data = volumes.source(volumes.create("data").name)
    (data / "a" / "b").mkdir(parents=True)
    (data / "a" / "b" / "file").write_text("text")
    points = [MountPoint("volume", "/d", name="data", subpath="a/b"), MountPoint("volume", "/f", name="data",
                                                                               subpath="a/b/file")]  # fmt: skip
    directory, file = start(volumes, "c1", shim, *points)
    assert (inside(shim, directory) / "file").read_text() == inside(shim, file).read_text() == "text"
    asyncio.run(volumes.release("c1"))
    assert not Path(directory).exists()


@pytest.mark.parametrize("subpath", ["nowhere", "link", "absolute"])
def test_a_part_that_is_not_in_the_volume_is_refused(
    volumes: Volumes, shim: isolation.Isolation, tmp_path: Path, subpath: str
) -> None:
    data = volumes.source(volumes.create("data").name)
    (tmp_path / "outside").mkdir()
    (data / "link").symlink_to("../../../outside")
    (data / "absolute").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidParameter, match=r"^cannot access path /.*: no such file or directory$"):
        start(volumes, "c1", shim, MountPoint("volume", "/d", name="data", subpath=subpath))


def test_an_image_is_mounted_read_only(volumes: Volumes, shim: isolation.Isolation) -> None:
    (whole,) = start(volumes, "c1", shim, MountPoint("image", "/i", "some"))
    assert sorted(path.name for path in (inside(shim, whole) / "srv").iterdir()) == ["lower", "upper"]
    with pytest.raises(OSError, match="Read-only"):
        (inside(shim, whole) / "new").touch()
    (part,) = start(volumes, "c2", shim, MountPoint("image", "/i", "some", subpath="srv"))
    assert sorted(path.name for path in inside(shim, part).iterdir()) == ["lower", "upper"]


def test_a_missing_directory_of_the_host_is_made_for_v_only(
    volumes: Volumes, shim: isolation.Isolation, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "below"
    with pytest.raises(
        InvalidParameter, match=f'mount config for type "bind": bind source path does not exist: {path}'
    ):
        start(volumes, "c1", shim, MountPoint("bind", "/d", str(path)))
    assert start(volumes, "c1", shim, MountPoint("bind", "/d", str(path), creates=True)) == [str(path)]
    assert path.is_dir()


def test_a_mount_that_is_not_shared_cannot_be_shared_further(
    volumes: Volumes, shim: isolation.Isolation, tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    point = MountPoint("bind", "/d", str(tmp_path / "d"), propagation="rshared")
    if "shared:" in Path("/proc/self/mountinfo").read_text().splitlines()[0]:
        pytest.skip("this machine's / is shared")
    with pytest.raises(SystemFailure, match=f"^path {tmp_path}/d is mounted on / but it is not a shared mount$"):
        start(volumes, "c1", shim, point)
