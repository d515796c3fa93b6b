"""python-on-whales: the docker command as a library, which reads what the command prints and what the API answers."""

import tarfile
from pathlib import Path

import pytest
from python_on_whales import DockerClient
from python_on_whales.exceptions import DockerException, NoSuchContainer, NoSuchImage
from tests.engine.harness import Engine


@pytest.fixture
def whales(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> DockerClient:
    for name, value in engine.environment.items():
        if name.startswith("DOCKER_"):
            monkeypatch.setenv(name, value)
    return DockerClient()


def test_a_container_from_run_to_removal(whales: DockerClient) -> None:
    assert whales.run("busybox", ["echo", "hello"], remove=True) == "hello"
    container = whales.run(
        "busybox",
        ["sh", "-c", "echo started; exec sleep 60"],
        detach=True,
        name="whale",
        envs={"A": "1"},
        labels={"kind": "test"},
        hostname="ocean",
        workdir="/tmp",
        memory="64m",
        publish=[(8080, 80)],
        stop_timeout=0,
    )
    assert container.state.running
    assert container.name == "whale"
    assert container.config.hostname == "ocean"
    assert container.config.labels["kind"] == "test"
    assert container.host_config.memory == 64 << 20
    assert container.network_settings.ports["80/tcp"][0]["HostPort"] == "8080"
    assert container.network_settings.networks["bridge"].ip_address
    assert container.execute(["sh", "-c", "echo $A; pwd; hostname"]) == "1\n/tmp\nocean"
    assert whales.container.list(filters=[("label", "kind=test")]) == [container]
    container.pause()
    assert container.state.paused
    container.unpause()
    container.kill()
    assert whales.wait(container) == 137
    assert container.logs().strip() == "started"
    container.remove()
    with pytest.raises(NoSuchContainer):
        whales.container.inspect("whale")


def test_output_as_it_is_written(whales: DockerClient) -> None:
    command = ["sh", "-c", "echo out; echo err >&2; echo more"]
    found = list(whales.run("busybox", command, stream=True, remove=True))
    assert {line for kind, line in found if kind == "stdout"} == {b"out\n", b"more\n"}
    assert [line for kind, line in found if kind == "stderr"] == [b"err\n"]


def test_failures_have_the_commands_words(whales: DockerClient) -> None:
    with pytest.raises(DockerException) as caught:
        whales.run("busybox", ["sh", "-c", "exit 3"], remove=True)
    assert caught.value.return_code == 3
    with pytest.raises(DockerException) as caught:
        whales.run("busybox", ["nosuch"], remove=True)
    assert caught.value.return_code == 127
    with pytest.raises(NoSuchImage):
        whales.image.inspect("nosuch")


def test_files_in_and_out(whales: DockerClient, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from outside")
    with whales.container.create("busybox", ["cat", "/tmp/in"]) as container:
        whales.copy(tmp_path / "in", (container, "/tmp/in"))
        assert whales.start(container, attach=True) == "from outside"
        whales.copy((container, "/tmp/in"), tmp_path / "out")
        assert (tmp_path / "out").read_text() == "from outside"


def test_images_are_built_tagged_saved_and_loaded(whales: DockerClient, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nLABEL a=b\nENV WHO=whales\nCMD echo $WHO\n")
    image = whales.legacy_build(tmp_path, tags=["whale/built:1"])
    assert image.config.labels == {"a": "b"}
    assert "WHO=whales" in image.config.env
    image.tag("whale/built:2")
    assert set(whales.image.inspect("whale/built:1").repo_tags) == {"whale/built:1", "whale/built:2"}
    assert whales.run("whale/built:2", remove=True) == "whales"
    whales.image.save("whale/built:1", output=tmp_path / "saved.tar")
    with tarfile.open(tmp_path / "saved.tar") as saved:
        assert "manifest.json" in saved.getnames()
    whales.image.remove(["whale/built:1", "whale/built:2"])
    assert whales.image.load(tmp_path / "saved.tar") == ["whale/built:1"]
    assert whales.image.exists("whale/built:1")
    whales.image.remove("whale/built:1")


def test_networks_and_volumes(whales: DockerClient) -> None:
    network = whales.network.create("sea", subnet="10.77.4.0/24", gateway="10.77.4.1", labels={"x": "y"})
    volume = whales.volume.create("chest", labels={"gold": "yes"})
    assert network.ipam.config[0]["Subnet"] == "10.77.4.0/24"
    assert volume.labels == {"gold": "yes"}
    with whales.run("busybox", ["sleep", "60"], detach=True, networks=["sea"], volumes=[("chest", "/v")]) as container:
        assert [mount.name for mount in container.mounts] == ["chest"]
        network.reload()
        assert list(network.containers) == [container.id]
        whales.network.disconnect("sea", container)
        whales.network.connect("sea", container, alias="boat", ip="10.77.4.9")
        container.reload()
        assert container.network_settings.networks["sea"].ip_address == "10.77.4.9"
        container.kill()
    network.remove()
    volume.remove()
    assert whales.volume.list(filters=[("name", "chest")]) == []


def test_the_daemon_tells_of_itself(whales: DockerClient) -> None:
    whales.run("busybox", ["sleep", "60"], detach=True, stop_timeout=0)
    info = whales.system.info()
    assert info.containers_running == 1
    assert info.driver == "overlay2"
    assert info.os_type == "linux"
    version = whales.version()
    assert version.server is not None
    assert version.server.api_version == "1.50"
    usage = whales.system.disk_free()
    assert usage.containers.active == 1
    assert usage.images.total_count >= 1
    assert whales.stats()[0].memory_used > 0
