"""What is mounted where, out of a container's configuration."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.errors import InvalidParameter, NotFound
from riverport.engine.volumes.binds import is_mode, normal, parse_bind
from riverport.engine.volumes.mount_point import MountPoint
from riverport.engine.volumes.mounts import parse_mount
from riverport.engine.volumes.plan import plan_mounts


def nobody(name: str) -> list[MountPoint]:
    raise NotFound(f"No such container: {name}")


def plan(
    host_config: dict[str, Any], volumes: tuple[str, ...] = (), points_of: Callable[[str], list[MountPoint]] = nobody
) -> dict[str, MountPoint]:
    return {p.destination: p for p in plan_mounts({"Volumes": {path: {} for path in volumes}}, host_config, points_of)}


# --- -v


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", "invalid volume specification: 'x': invalid mount config for type \"volume\": "
              "invalid mount path: 'x' mount path must be absolute"),
        ("x:/", "invalid volume specification: 'x:/': invalid mount config for type \"volume\": "
                "invalid specification: destination can't be '/'"),
        ("/a:/b:zz", "invalid mode: zz"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("/a:/b:ro,ro", "invalid mode: ro,ro"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        (":/b", "invalid volume specification: ':/b'"),
        ("a:/b:ro:x", "invalid volume specification: 'a:/b:ro:x'"),
        ("", "invalid volume specification: ''"),
        ("/a:/b:nocopy", "invalid volume specification: '/a:/b:nocopy': invalid mount config for type \"bind\": "
                         "field VolumeOptions must not be specified"),
        ("vol:/b:rshared", "invalid volume specification: 'vol:/b:rshared': invalid mount config for type \"volume\": "
                           "field BindOptions must not be specified"),
    ],
)  # fmt: skip
def test_a_wrong_bind_is_refused_in_dockers_words(text: str, problem: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_bind(text)
    assert str(refused.value) == problem


def test_a_path_is_bound_and_made_if_it_is_missing() -> None:
    assert parse_bind("/a/../b/:/c/:ro,Z,rslave") == MountPoint(
        "bind", "/c", "/b", mode="ro,Z,rslave", writable=False, propagation="rslave", creates=True
    )


def test_a_name_is_a_volume_that_the_image_fills() -> None:
    assert parse_bind("data:/c") == MountPoint("volume", "/c", name="data", driver="local", mode="z", copies=True)


def test_nocopy_leaves_a_volume_empty() -> None:
    assert not parse_bind("data:/c:nocopy").copies


def test_a_lone_target_is_an_anonymous_volume() -> None:
    found = parse_bind("/c")
    assert (found.type, found.name, found.anonymous, found.mode) == ("volume", "", True, "")


@given(st.text("ab/:.,rwozZ- ", max_size=30))
def test_any_text_is_a_mount_point_or_refused(text: str) -> None:
    try:
        found = parse_bind(text)
    except InvalidParameter:
        return
    assert found.destination.startswith("/")
    assert found.destination == normal(found.destination) != "/"
    assert is_mode(found.mode)


# --- --mount


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"Type": "bind", "Target": "/x"}, "field Source must not be empty"),
        ({"Type": "bind", "Target": "/x", "Source": "a"}, "invalid mount path: 'a' mount path must be absolute"),
        ({"Type": "bind", "Target": "", "Source": "/a"}, "field Target must not be empty"),
        ({"Type": "bind", "Target": "/..", "Source": "/a"}, "invalid specification: destination can't be '/'"),
        ({"Type": "bind", "Target": "/x", "Source": "/a", "VolumeOptions": {}},
         "field VolumeOptions must not be specified"),
        ({"Type": "bind", "Target": "/x", "Source": "/a", "BindOptions": {"Propagation": "zz"}},
         "invalid propagation mode: zz"),
        ({"Type": "volume", "Target": "/x", "ReadOnly": True},
         "must not set ReadOnly mode when using anonymous volumes"),
        ({"Type": "volume", "Target": "/x", "VolumeOptions": {"Subpath": "a"}},
         "must not set Subpath when using anonymous volumes"),
        ({"Type": "volume", "Target": "/x", "Source": "vv", "VolumeOptions": {"Subpath": "a/../../b"}},
         "subpath must be a relative path within the volume"),
        ({"Type": "tmpfs", "Target": "/x", "Source": "a"}, "field Source must not be specified"),
        ({"Type": "image", "Target": "/x"}, "field Source must not be empty"),
        ({"Type": "zz", "Target": "/x"}, "mount type unknown"),
        ({"Target": "/x"}, "mount type unknown"),
    ],
)  # fmt: skip
def test_a_wrong_mount_is_refused_in_dockers_words(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_mount(entry)
    assert str(refused.value) == f'invalid mount config for type "{entry.get("Type", "")}": {problem}'


def test_a_bind_mount_of_the_long_form_is_not_made() -> None:
    assert not parse_mount({"Type": "bind", "Target": "/x", "Source": "/a"}).creates
    options = {"CreateMountpoint": True}
    assert parse_mount({"Type": "bind", "Target": "/x", "Source": "/a", "BindOptions": options}).creates


def test_memory_has_size_and_mode() -> None:
    options = {"SizeBytes": 1 << 20, "Mode": 0o1770, "Options": [["exec"], ["uid", "5"]]}
    found = parse_mount({"Type": "tmpfs", "Target": "/x", "ReadOnly": True, "TmpfsOptions": options})
    assert found.options == "ro,mode=1770,size=1m,exec,uid=5"


# --- the plan


def test_parents_come_before_what_lies_in_them() -> None:
    planned = plan({"Binds": ["/1:/a/b/c", "/2:/a", "/3:/a/b"], "Tmpfs": {"/a/b/c/d": ""}})
    assert list(planned) == ["/a", "/a/b", "/a/b/c", "/a/b/c/d"]


@pytest.mark.parametrize(
    ("host_config", "shown"),
    [
        ({"Binds": ["/1:/b", "/2:/b/"]}, "/b"),
        ({"Binds": ["/1:/b"], "Tmpfs": {"/b": ""}}, "/b"),
        ({"Mounts": [{"Type": "tmpfs", "Target": "/b"}, {"Type": "tmpfs", "Target": "/b/"}]}, "/b/"),
        ({"Binds": ["/1:/b"], "Mounts": [{"Type": "tmpfs", "Target": "/b"}]}, "/b"),
    ],
)
def test_one_place_is_asked_for_once(host_config: dict[str, Any], shown: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^Duplicate mount point: {shown}$"):
        plan(host_config)


def test_the_images_volumes_fill_only_what_is_free() -> None:
    planned = plan({"Binds": ["/1:/b"], "Tmpfs": {"/t": "size=1m"}}, ("/b/", "/t", "/free"))
    assert {path: point.type for path, point in planned.items()} == {"/b": "bind", "/t": "tmpfs", "/free": "volume"}
    assert planned["/free"].anonymous


def test_what_is_inherited_gives_way_to_what_is_asked_for() -> None:
    other = {
        "first": [MountPoint("volume", "/a", name="one"), MountPoint("volume", "/b", name="two", copies=True)],
        "second": [MountPoint("bind", "/b", "/host"), MountPoint("tmpfs", "/t", is_listed=False)],
    }
    planned = plan({"VolumesFrom": ["first:ro", "second"], "Binds": ["three:/a"]}, points_of=other.__getitem__)
    assert set(planned) == {"/a", "/b"}
    assert (planned["/a"].name, planned["/b"].source, planned["/b"].writable) == ("three", "/host", True)


def test_what_is_inherited_read_only_stays_so() -> None:
    point = MountPoint("volume", "/a", name="one", writable=False, copies=True)
    planned = plan({"VolumesFrom": ["other"]}, points_of=lambda _: [point])
    assert not planned["/a"].writable
    assert not planned["/a"].copies


def test_volumes_of_a_container_that_is_not_there_are_a_mistake_of_the_request() -> None:
    with pytest.raises(InvalidParameter, match=r"^No such container: x$"):
        plan({"VolumesFrom": ["x"]})


@pytest.mark.parametrize("entry", ["other:zz", "other:nocopy", ""])
def test_volumes_come_from_a_container_with_a_mode_that_exists(entry: str) -> None:
    with pytest.raises(InvalidParameter):
        plan({"VolumesFrom": [entry]})


PATHS = st.sampled_from(["/a", "/a/b", "/c/", "/c/../d", "/e//f"])
BINDS = st.builds(lambda source, path, mode: f"{source}:{path}{mode}",
                  st.sampled_from(["/host", "name"]), PATHS, st.sampled_from(["", ":ro", ":rw"]))  # fmt: skip


@given(st.lists(BINDS, max_size=4), st.dictionaries(PATHS, st.just(""), max_size=3), st.lists(PATHS, max_size=4))
def test_every_plan_covers_each_destination_once(binds: list[str], tmpfs: dict[str, str], volumes: list[str]) -> None:
    wanted = [parse_bind(bind).destination for bind in binds] + [normal(path) for path in {*map(normal, tmpfs)}]
    config = {"Volumes": {path: {} for path in volumes}}
    if len(set(wanted)) < len(wanted):
        with pytest.raises(InvalidParameter, match="Duplicate mount point"):
            plan_mounts(config, {"Binds": binds, "Tmpfs": tmpfs}, nobody)
        return
    planned = plan_mounts(config, {"Binds": binds, "Tmpfs": tmpfs}, nobody)
    destinations = [point.destination for point in planned]
    assert set(destinations) == {*wanted, *map(normal, volumes)}
    assert len(destinations) == len(set(destinations))
    assert [MountPoint.from_document(point.document()) for point in planned] == planned
