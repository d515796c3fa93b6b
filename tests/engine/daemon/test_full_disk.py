"""A disk that a container fills: what ends is told, what is new is refused, and what is there can be removed."""

from collections.abc import Callable, Iterator

import pytest
from tests.engine.harness import Engine, image_tar

from riverport.engine.bootstrap import busybox

SIZE = "40m"
FILL = "dd if=/dev/zero of=/filling bs=1M count=100 2>/dev/null; exit 3"


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Iterator[Engine]:
    """On a disk of 40 MB, so small that no room is taken in advance either."""
    made = make_engine(images=())
    made.stop()
    mounted = made.isolation.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(made.place.data)])
    assert mounted.returncode == 0, mounted.stderr
    made.start()
    made.import_image(image_tar(), "busybox", "latest", busybox.CHANGES)
    yield made
    made.sweep()
    made.stop()
    made.isolation.run(["umount", str(made.place.data)])


def test_a_container_that_fills_the_disk_ends_and_takes_what_it_wrote_with_it(engine: Engine) -> None:
    filled = engine.cli("run", "--rm", "busybox", "sh", "-c", FILL, check=False)
    assert filled.returncode == 3
    assert engine.cli("ps", "-aq").stdout == ""
    assert engine.cli("run", "--rm", "busybox", "echo", "fine").stdout == "fine\n"


def test_a_disk_that_stays_full_refuses_what_is_new_and_can_be_emptied(engine: Engine) -> None:
    filled = engine.cli("run", "--name", "filler", "busybox", "sh", "-c", FILL, check=False)
    assert filled.returncode == 3
    assert engine.cli("ps", "-a", "--format", "{{.Names}}: {{.State}}").stdout == "filler: exited\n"
    for words in (("create", "--name", "more", "busybox"), ("rename", "filler", "other")):
        refused = engine.cli(*words, check=False)
        assert refused.returncode == 1
        assert "full" in refused.stderr or "no space left on device" in refused.stderr

    assert engine.cli("rm", "filler").stdout == "filler\n"
    assert engine.cli("run", "--rm", "busybox", "echo", "fine").stdout == "fine\n"
    engine.restart()
    assert engine.cli("ps", "-aq").stdout == ""
