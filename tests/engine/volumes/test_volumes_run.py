"""Volumes, directories of the host and memory in running containers, by the docker command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engine.harness import Engine


def run(engine: Engine, *words: str) -> str:
    return engine.cli("run", "--rm", *words).stdout


def refused(engine: Engine, *words: str) -> str:
    done = engine.cli("run", "--rm", *words, check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr.splitlines()[0]


def volumes(engine: Engine) -> list[str]:
    return engine.cli("volume", "ls", "-q").stdout.split()


def test_a_named_volume_outlives_its_containers(engine: Engine) -> None:
    run(engine, "-v", "data:/data", "busybox", "sh", "-c", "echo text > /data/file")
    assert run(engine, "-v", "data:/other:ro", "busybox", "cat", "/other/file") == "text\n"
    assert volumes(engine) == ["data"]


def test_an_empty_volume_gets_the_images_files_with_owner_and_mode(engine: Engine) -> None:
    words = ["-v", "data:/tmp", "busybox", "stat", "-c", "%a", "/tmp"]
    assert run(engine, *words) == "1777\n"
    listed = run(engine, "-v", "passwords:/etc", "busybox", "ls", "/etc").split()
    assert "shadow" in listed
    assert run(engine, "-v", "bare:/etc:nocopy", "busybox", "ls", "/etc").split() == [
        "hostname",
        "hosts",
        "resolv.conf",
    ]


def test_a_container_that_never_ran_fills_volumes_for_others(engine: Engine) -> None:
    """The old way to carry data: `--volumes-from` a container that was only created."""
    engine.cli("create", "--name", "carrier", "-v", "/etc", "busybox", "true")
    assert "root:x:0:0" in run(engine, "--volumes-from", "carrier:ro", "busybox", "cat", "/etc/passwd")


def test_anonymous_volumes_go_with_rm_and_named_ones_stay(engine: Engine) -> None:
    run(engine, "-v", "/scratch", "-v", "data:/data", "busybox", "touch", "/scratch/file")
    assert volumes(engine) == ["data"]
    engine.cli("create", "--name", "kept", "-v", "/scratch", "busybox", "true")
    engine.cli("rm", "kept")
    assert len(volumes(engine)) == 2
    reclaimed = engine.cli("volume", "prune", "-f").stdout
    assert "Total reclaimed space: 0B" in reclaimed
    assert volumes(engine) == ["data"]


def test_a_volume_in_use_is_not_removed_also_after_the_daemon_was_killed(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    container = engine.cli("run", "-d", "-v", "data:/data", "busybox", "sh", "-c", "touch /data/a; sleep 1000").stdout
    engine.kill()
    engine.start()
    said = engine.cli("volume", "rm", "data", check=False).stderr.strip()
    assert said == f"Error response from daemon: remove data: volume is in use - [{container.strip()}]"
    assert run(engine, "--volumes-from", container[:12], "busybox", "ls", "/data") == "a\n"


def test_read_only_is_read_only(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for mount in ("data:/place:ro", f"{tmp_path}:/place:ro"):
        assert "Read-only file system" in engine.cli(
            "run", "--rm", "-v", mount, "busybox", "touch", "/place/new", check=False
        ).stderr  # fmt: skip


def test_a_directory_of_the_host_is_seen_both_ways(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("in")
    words = ["-v", f"{tmp_path}:/place", "busybox", "sh", "-c", "cat /place/in; echo out > /place/out"]
    assert run(engine, *words) == "in"
    assert (tmp_path / "out").read_text() == "out\n"


def test_a_file_of_the_host_can_be_mounted(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    assert run(engine, "-v", f"{tmp_path}/file:/etc/some.conf:ro", "busybox", "cat", "/etc/some.conf") == "text"
    assert "Are you trying to mount a directory onto a file (or vice-versa)?" in refused(
        engine, "-v", f"{tmp_path}/file:/tmp", "busybox", "true"
    )


def test_a_missing_directory_is_made_for_v_and_refused_for_mount(engine: Engine, tmp_path: Path) -> None:
    said = refused(engine, "--mount", f"type=bind,src={tmp_path}/new,dst=/place", "busybox", "true")
    assert f'invalid mount config for type "bind": bind source path does not exist: {tmp_path}/new' in said
    assert not (tmp_path / "new").exists()
    run(engine, "-v", f"{tmp_path}/new/below:/place", "busybox", "true")
    assert (tmp_path / "new" / "below").is_dir()


def test_memory_has_its_size_and_options(engine: Engine) -> None:
    mounts = run(
        engine, "--tmpfs", "/a:size=1m,mode=750,exec", "--mount", "type=tmpfs,dst=/b,tmpfs-size=4096,readonly",
        "busybox", "grep", "-E", " /(a|b) ", "/proc/mounts",
    )  # fmt: skip
    options = {line.split()[1]: set(line.split()[3].split(",")) for line in mounts.splitlines()}
    assert {"rw", "nosuid", "nodev", "size=1024k", "mode=750"} <= options["/a"]
    assert "noexec" not in options["/a"]
    assert {"ro", "noexec", "size=4k"} <= options["/b"]
    assert 'invalid tmpfs option ["foo"]' in refused(engine, "--tmpfs", "/a:foo", "busybox", "true")


def test_volumes_lie_in_one_another_whatever_their_order(engine: Engine) -> None:
    words = ["-v", "inner:/a/b", "-v", "outer:/a", "busybox", "sh", "-c", "touch /a/b/file"]
    run(engine, *words)
    assert run(engine, "-v", "inner:/x", "busybox", "ls", "/x") == "file\n"
    assert run(engine, "-v", "outer:/x", "busybox", "ls", "/x") == "b\n"


def test_a_volume_in_memory_is_shared_and_ends_with_its_last_container(engine: Engine) -> None:
    engine.cli("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "fast")
    engine.cli("run", "-d", "--name", "first", "-v", "fast:/fast", "busybox", "sleep", "1000")
    engine.cli("exec", "first", "sh", "-c", "echo text > /fast/file")
    assert run(engine, "-v", "fast:/fast", "busybox", "cat", "/fast/file") == "text\n"
    engine.cli("rm", "-f", "first")
    assert run(engine, "-v", "fast:/fast", "busybox", "ls", "/fast") == ""


def test_parts_of_volumes_and_whole_images_are_mounted(engine: Engine) -> None:
    run(engine, "-v", "data:/data", "busybox", "sh", "-c", "mkdir /data/part; echo text > /data/part/file")
    part = "type=volume,src=data,dst=/place,volume-subpath=part"
    assert run(engine, "--mount", part, "busybox", "cat", "/place/file") == "text\n"
    image = "type=image,src=alpine:3.10,dst=/image"
    assert run(engine, "--mount", image, "busybox", "/image/bin/busybox", "echo", "hi") == "hi\n"
    missing = "type=volume,src=data,dst=/place,volume-subpath=nowhere"
    assert "no such file or directory" in refused(engine, "--mount", missing, "busybox", "true")


def test_an_inspection_shows_where_things_are_mounted(engine: Engine, tmp_path: Path) -> None:
    engine.cli(
        "create", "--name", "some", "-v", "data:/a:ro", "-v", f"{tmp_path}:/b", "--tmpfs", "/c", "busybox", "true"
    )
    shown = json.loads(engine.cli("inspect", "-f", "{{json .Mounts}}", "some").stdout)
    source = engine.cli("volume", "inspect", "-f", "{{.Mountpoint}}", "data").stdout.strip()
    assert sorted(shown, key=lambda mount: str(mount["Destination"])) == [
        {"Type": "volume", "Name": "data", "Source": source, "Destination": "/a", "Driver": "local", "Mode": "ro",
         "RW": False, "Propagation": ""},
        {"Type": "bind", "Source": str(tmp_path), "Destination": "/b", "Mode": "", "RW": True,
         "Propagation": "rprivate"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-v", "x:y"], "mount path must be absolute"),
        (["-v", "a/b:/c"], 'includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]"'),
        (["-v", "/tmp:/b", "-v", "/var:/b"], "Duplicate mount point: /b"),
        (["--volumes-from", "nobody"], "No such container: nobody"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(engine: Engine, words: list[str], said: str) -> None:
    assert said in refused(engine, *words, "busybox", "true")
    assert volumes(engine) == engine.cli("ps", "-aq").stdout.split() == []


def test_docker_py_sees_volumes_as_dockerd_shows_them(engine: Engine) -> None:
    client = engine.client()
    made = client.volumes.create("data", labels={"a": "b"})
    assert made.attrs["Labels"] == {"a": "b"}
    assert client.volumes.list(filters={"label": "a=b"}) == [made]
    client.containers.create("busybox", "true", volumes=["data:/data"])
    usage = {volume["Name"]: volume["UsageData"]["RefCount"] for volume in client.df()["Volumes"]}
    assert usage == {"data": 1}
