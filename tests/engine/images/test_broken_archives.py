"""What is no archive, and what ends while it is committed: as clients expect to be told."""

import json

import pytest
from tests.engine.harness import Engine


def test_what_is_no_archive_is_told_in_the_stream(engine: Engine) -> None:
    """docker-py and the docker command look for `error` in the lines of a 200."""
    status, said = engine.api("POST", "/images/load", b"abc", {"Content-Type": "application/x-tar"})
    assert status == 200
    last = said if isinstance(said, dict) else json.loads(said.splitlines()[-1])
    assert last["error"] == last["errorDetail"]["message"] != ""


def test_docker_py_says_that_an_archive_is_broken(engine: Engine) -> None:
    from docker.errors import ImageLoadError

    with pytest.raises(ImageLoadError):
        engine.client().images.load(b"abc")


def test_a_container_that_is_just_ending_can_be_committed(engine: Engine) -> None:
    """Its processes are gone before the daemon has heard of it, and cannot be paused any more."""
    for _ in range(5):
        container = engine.cli("run", "-d", "busybox", "touch", "/file").stdout.strip()
        status, answer = engine.api("POST", f"/commit?container={container}&pause=1")
        assert status == 201, answer
