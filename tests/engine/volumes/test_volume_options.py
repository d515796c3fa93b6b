"""Options of memory file systems and of the driver `local`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverport.engine.errors import InvalidParameter, NotFound
from riverport.engine.linux import syscalls
from riverport.engine.volumes.local import MountCall, check_new, mount_call
from riverport.engine.volumes.mount_point import MountPoint
from riverport.engine.volumes.mounted import oci_mount
from riverport.engine.volumes.tmpfs import DEFAULTS, merged


def test_the_last_word_on_a_matter_counts() -> None:
    assert merged("exec,size=1m,ro,size=2m,rw") == ["exec", "nosuid", "nodev", "rprivate", "size=2m", "rw"]


def test_what_tmpfs_does_not_know_is_named() -> None:
    with pytest.raises(InvalidParameter, match=r'^invalid tmpfs option \["foo" "size" "bar=1"\]$'):
        merged("foo,size,mode=755,bar=1")


@given(st.lists(st.sampled_from(["rw", "ro", "exec", "noexec", "size=1m", "mode=700", "nodev", "dev", "sync"])))
def test_options_never_contradict_each_other(words: list[str]) -> None:
    found = merged(",".join(words))
    for on, off in (("rw", "ro"), ("exec", "noexec"), ("suid", "nosuid"), ("dev", "nodev"), ("async", "sync")):
        assert not {on, off} <= set(found)
    assert all(word in found for word in words[-1:])
    assert len({option.partition("=")[0] for option in found}) == len(found) >= len(DEFAULTS)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"foo": "x"}, 'invalid option: "foo"'),
        ({"type": "tmpfs"}, 'missing required option: "device"'),
        ({"device": "tmpfs"}, 'missing required option: "type"'),
        ({"o": "size=1m"}, 'missing required option: "device"'),
        ({"size": "10m"}, "quota size requested but no quota support"),
        ({"size": "abc"}, "invalid size: 'abc'"),
    ],
)
def test_a_wrong_option_is_refused_in_dockers_words(options: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        check_new("data", "local", options)
    assert str(refused.value) == f"create data: {problem}"


@pytest.mark.parametrize("name", ["a", "a/b", ".a", "a b", "-a", "ä1"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^create {name}: "):
        check_new(name, "local", {})


def test_another_driver_is_not_found() -> None:
    with pytest.raises(NotFound, match=r'^create data: error looking up volume plugin x: plugin "x" not found$'):
        check_new("data", "x", {})


def test_options_become_a_mount_as_of_mount_8() -> None:
    call = mount_call({"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1,nosuid,noexec,exec"})
    assert call == MountCall("tmpfs", "tmpfs", syscalls.MS_NOSUID, "size=1m,uid=1")
    assert mount_call({"type": "none", "device": "/d", "o": "rbind,ro"}) == MountCall(
        "/d", "none", syscalls.MS_BIND | syscalls.MS_REC | syscalls.MS_RDONLY, ""
    )
    assert mount_call({"type": "", "device": "", "o": ""}) is mount_call(None) is None


def test_read_only_holds_for_what_is_mounted_below_unless_it_must_not() -> None:
    def options(point: MountPoint, is_directory: bool = True) -> list[str]:
        found: list[str] = oci_mount(point, "/h", is_directory=is_directory)["options"]
        return found

    deep = MountPoint("bind", "/x", "/h", writable=False)
    assert options(deep) == ["rbind", "rprivate", "rro"]
    assert options(deep, is_directory=False) == ["rbind", "rprivate", "ro"]
    shallow = MountPoint("bind", "/x", "/h", writable=False, read_only_recursive=False, propagation="rslave")
    assert options(shallow) == ["rbind", "rslave", "ro"]
    alone = MountPoint("bind", "/x", "/h", writable=False, is_recursive=False)
    assert options(alone) == ["bind", "rprivate", "ro"]
