"""Builds that end early, caches that are pruned, files that come from elsewhere."""

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.engine.build.kit import TIMEOUT_S, Built, build, context, post, run, send
from tests.engine.harness import Engine

from riverport.cli.unix_http import UnixConnection

PATIENCE_S = 20
DIGEST = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
"""Of "hello\\n"."""
BEGUN = '"stream":"begun'
SLEEPER = "FROM busybox\nRUN echo begun; sleep 1000\n"


def read_until(answer: io.BufferedIOBase, text: str) -> None:
    seen = b""
    while text.encode() not in seen:
        piece = answer.readline()
        assert piece, f"the stream ended before {text!r}: {seen[-500:]!r}"
        seen += piece


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_client_that_goes_away_ends_its_build(engine: Engine) -> None:
    connection, answer = post(engine, context({"Dockerfile": SLEEPER}), nocache="1")
    read_until(answer, BEGUN)
    assert engine.cgroups()
    connection.close()
    answer.close()
    assert eventually(lambda: not engine.cgroups() and not engine.mounts())
    assert eventually(lambda: not list((engine.place.data / "build" / "contexts").iterdir()))
    assert not build(engine, "FROM busybox\nRUN true\n", nocache="1").error


def test_builds_that_are_stuck_keep_nobody_waiting(engine: Engine) -> None:
    """More of them than there are processors: each build has its own turns."""
    stuck = [post(engine, context({"Dockerfile": SLEEPER}), nocache="1") for _ in range(4)]
    for _, answer in stuck:
        read_until(answer, BEGUN)
    assert engine.api("GET", "/containers/json", timeout=10)[0] == 200
    assert not build(engine, "FROM busybox\nRUN echo quick\n", nocache="1").error
    for connection, answer in stuck:
        connection.close()
        answer.close()
    assert eventually(lambda: not engine.cgroups())


def test_contexts_that_never_arrive_keep_nobody_waiting(engine: Engine) -> None:
    """More of them than the daemon has threads."""
    connections = [UnixConnection(str(engine.place.socket), TIMEOUT_S) for _ in range(12)]
    for connection in connections:
        connection.putrequest("POST", "/v1.50/build")
        connection.putheader("Content-Length", "1000000")
        connection.endheaders(context({"Dockerfile": SLEEPER})[:700])
    assert not build(engine, "FROM busybox\nRUN echo meanwhile\n", nocache="1").error
    for connection in connections:
        connection.close()
    assert eventually(lambda: not list((engine.place.data / "build" / "contexts").iterdir()))


def test_images_of_a_build_under_way_are_not_pruned(engine: Engine) -> None:
    dockerfile = (
        "FROM busybox\nRUN echo 1 > /one\nRUN echo begun; until test -e /c/go; do sleep 0.01; done\nRUN cat /one\n"
    )
    dockerfile = dockerfile.replace("RUN echo begun", "RUN --mount=type=cache,id=go,target=/c echo begun")
    connection, answer = post(engine, context({"Dockerfile": dockerfile}), nocache="1", t="survivor")
    read_until(answer, BEGUN)
    engine.client().images.prune({"dangling": True})
    assert not build(engine, "FROM busybox\nRUN --mount=type=cache,id=go,target=/c touch /c/go\n", nocache="1").error
    read_until(answer, "Successfully tagged survivor:latest")
    connection.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_nothing_is_left_of_a_build_whose_daemon_ended(make_engine: Callable[..., Engine], how: signal.Signals) -> None:
    engine = make_engine(images=("busybox:latest",))
    volume = "FROM busybox\nVOLUME /v\nRUN echo begun; sleep 1000\n"
    connection, answer = post(engine, context({"Dockerfile": volume}), nocache="1")
    read_until(answer, BEGUN)
    engine.restart(how)
    connection.close()
    answer.close()
    assert eventually(lambda: not engine.cgroups() and not engine.mounts())
    assert eventually(lambda: engine.api("GET", "/volumes")[1]["Volumes"] == [])
    assert eventually(lambda: not list((engine.place.data / "build" / "contexts").glob("*")))
    assert not build(engine, "FROM busybox\nRUN echo after > /a\n", t="after").error
    assert run(engine, "after", "cat", "/a") == "after\n"


FAILING = "FROM busybox\nENV A=1\nRUN echo made > /made; exit 3\n"


def test_a_step_that_fails_stays_as_a_container(engine: Engine) -> None:
    built = build(engine, FAILING, networkmode="none", memory=str(64 << 20))
    assert built.error == "The command '/bin/sh -c echo made > /made; exit 3' returned a non-zero code: 3"
    (row,) = engine.api("GET", "/containers/json?all=1")[1]
    assert f"Running in {row['Id'][:12]}" in built.text
    assert row["Command"] == "/bin/sh -c 'echo made > /made; exit 3'"
    assert row["Status"].startswith("Exited (3)")
    shown = engine.api("GET", f"/containers/{row['Id']}/json")[1]
    assert shown["Config"]["Env"][-1] == "A=1"
    assert shown["Config"]["Entrypoint"] is None
    assert shown["HostConfig"]["Memory"] == 64 << 20
    assert shown["HostConfig"]["NetworkMode"] == "none"
    assert shown["HostConfig"]["LogConfig"]["Type"] == "none"
    assert engine.cli("diff", row["Id"]).stdout == "A /made\n"
    engine.cli("commit", "--change", 'ENTRYPOINT ["cat"]', row["Id"], "rescued")
    assert run(engine, "rescued", "/made") == "made\n"
    assert engine.cli("start", "-a", row["Id"], check=False).returncode == 3
    engine.cli("rm", row["Id"])
    assert not engine.api("GET", "/containers/json?all=1")[1]


def test_a_step_that_fails_is_removed_for_a_client_that_wants_it_so(engine: Engine) -> None:
    built = build(engine, FAILING, forcerm="1")
    assert built.code == 3
    assert built.masked.endswith(" ---> Running in <id>\n ---> Removed intermediate container <id>\n")
    assert not engine.api("GET", "/containers/json?all=1")[1]


def test_steps_stay_as_containers_for_a_client_that_wants_it_so(engine: Engine) -> None:
    dockerfile = "FROM busybox\nENV KEPT=1\nWORKDIR /w\nRUN echo made > made\nRUN true\nCOPY --from=busybox /bin/sh /\n"
    built = build(engine, dockerfile, t="kept", rm="0")
    assert not built.error
    assert "Removed intermediate container" not in built.text
    rows = engine.api("GET", "/containers/json?all=1")[1]
    assert [row["Command"] for row in reversed(rows)] == [
        "/bin/sh -c '#(nop) ' 'ENV KEPT=1'",
        "/bin/sh -c '#(nop) WORKDIR /w'",
        "/bin/sh -c 'echo made > made'",
        "/bin/sh -c true",
    ]
    assert [row["State"] for row in reversed(rows)] == ["created", "created", "exited", "exited"]
    assert all(f"Running in {row['Id'][:12]}\n" in built.text for row in rows)
    second = rows[1]["Id"]
    assert engine.cli("diff", second).stdout == "C /w\nA /w/made\n"
    assert run(engine, "kept", "cat", "made") == "made\n"
    again = build(engine, dockerfile, rm="0")
    assert again.id == built.id, "all of it is in the cache, and leaves no containers"
    assert len(engine.api("GET", "/containers/json?all=1")[1]) == len(rows)
    engine.cli("rm", *[row["Id"] for row in rows])
    engine.cli("rmi", "kept")
    build(engine, "FROM busybox\nRUN true\n", rm="0", forcerm="1")
    assert not engine.api("GET", "/containers/json?all=1")[1]


def test_a_step_that_failed_outlives_the_daemon(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(images=("busybox:latest",))
    build(engine, "FROM busybox\nVOLUME /v\nRUN echo made > /made; exit 3\n")
    engine.restart(signal.SIGKILL)
    build(engine, "FROM busybox\nRUN true\n")  # wakes the builder, which clears away after a killed daemon
    (row,) = engine.api("GET", "/containers/json?all=1")[1]
    assert "A /made\n" in engine.cli("diff", row["Id"]).stdout
    engine.cli("rm", "-v", row["Id"])
    assert eventually(lambda: engine.api("GET", "/volumes")[1]["Volumes"] == [])


def test_the_cache_outlives_the_daemon_and_forgets_removed_images(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(images=("busybox:latest",))
    dockerfile = "FROM busybox\nRUN echo kept > /k\nLABEL a=b\n"
    first = build(engine, dockerfile, t="kept")
    engine.restart(signal.SIGKILL)
    assert build(engine, dockerfile).hits == 2
    engine.client().images.remove("kept")
    again = build(engine, dockerfile, t="kept")
    assert again.hits == 0
    assert again.id != first.id


def test_caches_of_mounts_are_shown_and_pruned(engine: Engine) -> None:
    mount = "RUN --mount=type=cache,id=pruned,target=/c,mode=0711,uid=5 "
    built = build(engine, f"FROM busybox\n{mount} stat -c '%a %u' /c; dd if=/dev/zero of=/c/f bs=1k count=64\n")
    assert "711 5\n" in built.text
    cached = {
        entry["Description"]: entry for entry in engine.api("GET", "/system/df?type=build-cache")[1]["BuildCache"]
    }
    entry = cached["cached mount pruned"]
    assert (entry["Type"], entry["Size"], entry["InUse"]) == ("exec.cachemount", 65536, False)
    recent = json.dumps({"until": ["1h"]})
    assert engine.api("POST", f"/build/prune?filters={recent.replace(' ', '')}")[1]["CachesDeleted"] is None
    pruned = engine.api("POST", "/build/prune")[1]
    assert entry["ID"] in pruned["CachesDeleted"]
    assert pruned["SpaceReclaimed"] >= 65536
    assert engine.api("GET", "/system/df?type=build-cache")[1]["BuildCache"] == []
    assert "Total reclaimed space: 0B" in engine.cli("builder", "prune", "--force").stdout


def test_locked_caches_are_held_by_one_step_at_a_time(engine: Engine) -> None:
    step = "RUN --mount=type=cache,id=locked,sharing=locked,target=/c mkdir /c/in && sleep 0.2 && rmdir /c/in"
    dockerfile = f"FROM busybox AS a\n{step}\nFROM busybox AS b\n{step}\nFROM a\nCOPY --from=b /etc/passwd /b\n"
    assert not build(engine, dockerfile, nocache="1").error


@pytest.fixture
def served(engine: Engine) -> Iterator[Callable[[dict[str, bytes]], str]]:
    """Serves files where the daemon can reach them: from a container in its own network."""
    client = engine.client()
    containers = []

    def serve(files: dict[str, bytes]) -> str:
        container = client.containers.create(
            "busybox", ["httpd", "-f", "-p", "127.0.0.1:8099", "-h", "/www"], network_mode="host"
        )
        containers.append(container)
        packed = {f"www/{name}": data for name, data in files.items()}
        container.put_archive("/", context(packed))
        container.start()
        fetched = f"until wget -qO /dev/null 127.0.0.1:8099/{next(iter(files))}; do :; done"
        assert not build(engine, f"FROM busybox\nRUN --network=host {fetched}\n", nocache="1").error
        return "http://127.0.0.1:8099"

    yield serve
    for container in containers:
        container.remove(force=True)


def test_add_takes_files_from_urls_unopened(engine: Engine, served: Callable[[dict[str, bytes]], str]) -> None:
    archive = context({"inner": "x"})
    address = served({"a.tar": archive, "plain.txt": b"hello\n"})
    built = build(
        engine,
        f"FROM busybox\nADD {address}/a.tar /d/\nADD {address}/plain.txt /named\n"
        f"ADD --checksum={DIGEST} {address}/plain.txt /c/\n"
        'CMD ["sh", "-c", "stat -c %a /d/a.tar /named; tar tf /d/a.tar; cat /c/plain.txt"]\n',
        t="fetched",
    )
    assert not built.error
    assert run(engine, "fetched") == "600\n600\ninner\nhello\n"
    again = f"FROM busybox\nADD {address}/a.tar /d/\n"
    assert build(engine, again).hits == 1
    wrong = build(engine, f"FROM busybox\nADD --checksum=sha256:{'0' * 64} {address}/plain.txt /c\n")
    assert wrong.error.startswith(f"ADD failed: digest mismatch {DIGEST}")
    assert (
        f"failed to GET {address}/none with status 404" in build(engine, f"FROM busybox\nADD {address}/none /n\n").error
    )


def test_a_context_may_be_an_archive_or_a_dockerfile_at_a_url(
    engine: Engine, served: Callable[[dict[str, bytes]], str]
) -> None:
    files = {"Dockerfile": "FROM busybox\nCOPY f /f\n", "f": "remote"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    address = served({"context.tar.gz": packed.getvalue(), "Other": b"FROM busybox\nENV remote=1\n"})
    built = send(engine, b"", remote=f"{address}/context.tar.gz", t="remote")
    assert not built.error
    assert run(engine, "remote", "cat", "/f") == "remote"
    only_text: Built = send(engine, b"", remote=f"{address}/Other")
    assert not only_text.error
    missing = send(engine, b"", remote=f"{address}/none")
    assert "with status 404" in missing.error
    assert send(engine, b"", remote="ftp://x/y").error == "remoteURL (ftp://x/y) could not be recognized as URL"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_repositories_are_contexts_and_sources(
    engine: Engine, served: Callable[[dict[str, bytes]], str], tmp_path: Path
) -> None:
    def git(*words: str) -> None:
        who = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@x",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@x",
        }
        subprocess.run(["git", *words], cwd=tmp_path, check=True, env={**os.environ, **who, "HOME": str(tmp_path)})

    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Dockerfile").write_text("FROM busybox\nCOPY f /f\n")
    (tmp_path / "sub" / "f").write_text("from the branch")
    git("init", "--quiet", "--initial-branch=side")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    git("update-server-info")
    files = {f"r.git/{path.relative_to(tmp_path / '.git')}": path.read_bytes()
             for path in (tmp_path / ".git").rglob("*") if path.is_file()}  # fmt: skip
    address = served({"ready": b"", **files}) + "/r.git"
    built = send(engine, b"", remote=f"{address}#side:sub", t="cloned")
    assert not built.error
    assert run(engine, "cloned", "cat", "/f") == "from the branch"
    added = build(engine, f"FROM busybox\nADD {address}#side /src\n", t="added-repository")
    assert not added.error
    assert run(engine, "added-repository", "ls", "-A", "/src", "/src/sub").split() == [
        "/src:", "sub", "/src/sub:", "Dockerfile", "f",
    ]  # fmt: skip
    assert build(engine, f"FROM busybox\nADD {address}#side /src\n").hits == 1
    assert "error fetching" in send(engine, b"", remote=f"{address}#nosuch").error
    assert send(engine, b"", remote=f"{address}#--upload-pack=x").error == "invalid refspec: --upload-pack=x"
    assert "is not a directory" in send(engine, b"", remote=f"{address}#side:../../etc").error


def test_a_step_may_share_the_network_of_a_container(engine: Engine) -> None:
    container = engine.client().containers.run("busybox", ["sleep", "1000"], name="neighbour", detach=True)
    try:
        address = container.exec_run("hostname -i").output.decode()
        built = build(engine, "FROM busybox\nRUN hostname -i\n", networkmode="container:neighbour", nocache="1")
        assert f"{address.strip()}\n" in built.text
        container.kill()
        stopped = build(engine, "FROM busybox\nRUN true\n", networkmode="container:neighbour", nocache="1")
        assert "cannot join network namespace of a non running container" in stopped.error
    finally:
        container.remove(force=True)
    assert (
        "No such container"
        in build(engine, "FROM busybox\nRUN true\n", networkmode="container:neighbour", nocache="1").error
    )


def test_files_of_a_copy_whose_daemon_was_killed_go_with_the_next_one(make_engine: Callable[..., Engine]) -> None:
    """They kept their layers for ever (found by scripts/engine-kill)."""
    engine = make_engine()
    build(engine, "FROM busybox\nRUN head -c 200000000 /dev/zero > /big\n", t="big")
    before = set(os.listdir(engine.place.data / "overlay2"))
    data = context({"Dockerfile": "FROM busybox\nCOPY --from=big /big /copied\n"})
    connection, answer = post(engine, data, nocache="1")
    assert eventually(lambda: set(os.listdir(engine.place.data / "overlay2")) > before)
    engine.kill()
    connection.close()
    answer.close()
    engine.start()
    engine.sweep()
    engine.cli("image", "prune", "-af")
    assert eventually(lambda: os.listdir(engine.place.data / "overlay2") == ["l"])
