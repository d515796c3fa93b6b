"""What the daemon has kept of its promises, and what is left when everything has been removed."""

import os
from pathlib import Path
from urllib.parse import quote

from tests.engine.harness import Engine

from engine_kill.clients import persist
from engine_kill.ledger import Ledger
from engine_kill.workload import check_end

NETWORKS = ("bridge", "host", "none")


def judge(engine: Engine, ledger: Ledger) -> None:
    """Containers and volumes are those that were promised, with their exit codes and logs."""
    _, rows, _ = persist(engine, "GET", "/containers/json?all=1")
    found = {row["Names"][0].lstrip("/") for row in rows}
    for promise in ledger.containers.values():
        if promise.created and not promise.removed and promise.name not in found:
            ledger.problem(f"{promise.name} is lost")
        elif promise.removed and promise.name in found:
            ledger.problem(f"{promise.name} was removed, and is back")
        elif promise.started and not promise.removed and promise.name in found:
            check_end(engine, ledger, promise)
    for name in found - set(ledger.containers):
        ledger.problem(f"{name} is a container that nobody keeps")
    _, answer, _ = persist(engine, "GET", "/volumes")
    lost = ledger.volumes - {volume["Name"] for volume in answer["Volumes"] or []}
    ledger.problems += [f"volume {name} is lost" for name in sorted(lost)]


def clear(engine: Engine, ledger: Ledger) -> None:
    """Remove everything by the API, then count what is left of it on the disk and in the kernel."""
    engine.sweep()
    persist(engine, "POST", "/build/prune?all=1")
    _remove_images(engine, ledger)
    data = engine.place.data
    for what, place in (
        ("layer", data / "overlay2"),
        ("blob", data / "blobs" / "sha256"),
        ("half a blob", data / "blobs" / "arriving"),
        ("container", data / "containers"),
        ("volume", data / "volumes"),
        ("mount point", engine.place.exec / "volumes"),
    ):
        ledger.problems += [f"left behind: {what} {name}" for name in _names(place) if name != "l"]
    ledger.problems += [f"left behind: link {name}" for name in _names(data / "overlay2" / "l")]
    engine.stop()
    ledger.problems += [f"left behind: {what}" for what in engine.leftovers(30)]


def _remove_images(engine: Engine, ledger: Ledger) -> None:
    """Children first, as the daemon demands: again while some go."""
    before = None
    while (images := persist(engine, "GET", "/images/json?all=1")[1]) and len(images) != before:
        before = len(images)
        for image in images:
            persist(engine, "DELETE", f"/images/{quote(image['Id'], safe='')}?force=1")
    for image in images:
        ledger.problem(f"image {image['Id'][:19]} cannot be removed")


def _names(place: Path) -> list[str]:
    return sorted(os.listdir(place)) if place.is_dir() else []
