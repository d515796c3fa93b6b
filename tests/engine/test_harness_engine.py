"""What the harness itself promises."""

from collections.abc import Callable

import pytest
from tests.engine import harness


def test_clients_reach_the_daemon_and_not_the_one_of_the_machine(engine: harness.Engine) -> None:
    assert engine.cli("run", "--rm", "busybox", "echo", "hi").stdout == "hi\n"
    names = {tag for image in engine.client().images.list() for tag in image.tags}
    assert names == set(harness.IMAGES)


def test_what_a_test_leaves_is_swept(engine: harness.Engine) -> None:
    engine.cli("run", "-d", "-v", "data:/data", "busybox", "sleep", "1000")
    engine.cli("network", "create", "some")
    engine.sweep()
    assert engine.cli("ps", "-aq").stdout == engine.cli("volume", "ls", "-q").stdout == ""
    assert engine.cgroups() == []


@pytest.mark.skipif(harness.kind_under_test().key != "riverport", reason="dockerd's containerd dies with it, half")
def test_a_daemon_that_was_killed_starts_again_with_its_images(make_engine: Callable[..., harness.Engine]) -> None:
    engine = make_engine()
    engine.kill()
    engine.start()
    assert "alpine" in engine.cli("images").stdout
