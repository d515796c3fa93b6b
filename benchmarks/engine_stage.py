"""Where figures of container engines are measured: the engines of a run, their image, and a registry for each."""

import hashlib
import io
import itertools
import json
import os
import random
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engines import Engine, EngineProduct, image_tar
from benchmarks.nodes import NodeFailed
from riverport.engine.bootstrap import busybox

REGISTRY = "127.0.0.1:5000"
LAYERS = 3
DOCKERFILE = (
    "FROM busybox",
    "ENV A=1",
    "RUN echo one > /one",
    "COPY file /file",
    "RUN echo two > /two",
    'CMD ["cat", "/file"]',
)


@dataclass(frozen=True, slots=True)
class EngineScale:
    """How much of everything. Rounds per figure, and commands per round."""

    rounds: int
    fresh_rounds: int  # of the figures that start engines of their own
    commands: int  # of one kind after another
    parallel: int  # at once
    megabytes: int  # of the image that is pushed and pulled
    containers: int  # of which the memory is measured
    settle_seconds: float
    warm_ups: int = 0


FULL = EngineScale(5, 3, 5, 20, 300, 10, 3.0)
FAST = EngineScale(3, 2, 3, 20, 300, 10, 2.0)
QUICK = EngineScale(1, 1, 1, 2, 3, 2, 0.1)
"""Shows that everything works; its numbers mean nothing."""


class EngineStage:
    """One run's engines. A context: leaving it stops every engine and removes its directory."""

    def __init__(self, products: list[EngineProduct], scale: EngineScale, work: Path) -> None:
        self.products = products
        self.scale = scale
        self.numbers = itertools.count(1)
        self._work = work
        self._engines: dict[str, Engine] = {}
        self._image = work / "busybox.tar"
        self._image.write_bytes(image_tar())

    def __enter__(self) -> "EngineStage":
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines.values():
            engine.close()

    def engine(self, product: EngineProduct) -> Engine:
        """The product's engine that lives through the run, with the image; started when it is first asked for."""
        engine = self._engines.get(product.key)
        if engine is None:
            engine = self._engines[product.key] = self._new_engine(product)
            engine.start()
            self.import_image(engine)
            engine.run("run", "--rm", "busybox", "true")
        return engine

    @contextmanager
    def fresh_engine(self, product: EngineProduct) -> Iterator[Engine]:
        """An engine of its own: not started, without images."""
        engine = self._new_engine(product)
        try:
            yield engine
        finally:
            engine.close()

    def import_image(self, engine: Engine) -> None:
        changes = [word for change in busybox.CHANGES for word in ("--change", change)]
        engine.run("import", *changes, str(self._image), "busybox:latest")

    def _new_engine(self, product: EngineProduct) -> Engine:
        # Short: a unix socket's path has 107 bytes at the most.
        return product.make(self._work / f"{product.key[:1]}{next(self.numbers)}")

    def context(self) -> Path:
        """A directory with the six lines of a small image."""
        place = self._work / f"context-{next(self.numbers)}"
        place.mkdir()
        (place / "Dockerfile").write_text("\n".join([*DOCKERFILE, ""]))
        (place / "file").write_text("text\n")
        return place

    def big_image(self) -> Path:
        """An archive for `load`: an image of some layers, half of whose bytes cannot be compressed."""
        path = self._work / "big.tar"
        if not path.exists():
            write_archive(path, self.scale.megabytes)
        return path

    @contextmanager
    def registry(self, engine: Engine) -> Iterator[str]:
        """An empty registry inside the engine's namespaces: Debian's docker-registry, else Riverport's own."""
        root = self._work / f"registry-{next(self.numbers)}"
        root.mkdir()
        if shutil.which("docker-registry"):
            config = {"version": 0.1, "log": {"level": "error"}, "http": {"addr": REGISTRY},
                      "storage": {"filesystem": {"rootdirectory": str(root)}}}  # fmt: skip
            (root / "config.yml").write_text(json.dumps(config))
            words = ["docker-registry", "serve", str(root / "config.yml")]
        else:
            words = ["riverport", "registry", "start", "--listen", REGISTRY, "--root", str(root)]
        running = subprocess.Popen(
            engine.isolation.command(words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _await_port(engine, running)
            yield REGISTRY
        finally:
            running.terminate()
            running.wait()
            shutil.rmtree(root, ignore_errors=True)


def _await_port(engine: Engine, running: "subprocess.Popen[bytes]") -> None:
    host, _, port = REGISTRY.partition(":")
    deadline = time.monotonic() + 30
    while True:
        try:
            engine.isolation.connect(host, int(port)).close()
            return
        except OSError as error:
            if running.poll() is not None or time.monotonic() > deadline:
                raise NodeFailed(f"the registry did not start: {error}") from error
            time.sleep(0.02)


def write_archive(path: Path, megabytes: int) -> None:
    """As `docker save` writes one: `manifest.json`, a configuration, a tar for each layer."""
    chance = random.Random(1)
    layers = [_layer(f"file-{number}", megabytes * 1_000_000 // LAYERS, chance) for number in range(LAYERS)]
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
        "history": [{"created": "2024-01-01T00:00:00Z"} for _ in layers],
        "created": "2024-01-01T00:00:00Z",
    }
    names = [f"layer-{number}.tar" for number in range(LAYERS)]
    manifest = [{"Config": "config.json", "RepoTags": ["big:latest"], "Layers": names}]
    with tarfile.open(path, "w") as archive:
        _add(archive, "config.json", json.dumps(config).encode())
        for name, layer in zip(names, layers):
            _add(archive, name, layer)
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _layer(name: str, size: int, chance: random.Random) -> bytes:
    block = 1 << 16
    blocks = [chance.randbytes(block) + b"compressible " * (block // 13) for _ in range(max(1, size // (2 * block)))]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add(tar, name, b"".join(blocks))
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
