"""What is measured of container engines: commands as people type them, from exec to exit."""

import time
from collections.abc import Callable
from statistics import median

from benchmarks.engine_stage import EngineStage
from benchmarks.engines import Engine, EngineProduct
from benchmarks.figures import Figure
from benchmarks.results import Measure

Values = dict[str, float]
PORT = "18080:80"


def command(name: str, title: str, target: float | None, words: tuple[str, ...]) -> Figure:
    """The median of a round's commands, one after another."""

    def run(stage: EngineStage, product: EngineProduct) -> Values:
        engine = stage.engine(product)
        return {"took": 1000 * _median(stage, lambda: engine.time(*words))}

    return Figure(name, title, (Measure("took", "from exec to exit", "ms", False, target),), run, seconds=2)


def _median(stage: EngineStage, once: Callable[[], float]) -> float:
    return median(once() for _ in range(stage.scale.commands))


def _exec(stage: EngineStage, product: EngineProduct) -> Values:
    engine = stage.engine(product)
    name = f"exec-{next(stage.numbers)}"
    engine.run("run", "-d", "--name", name, "busybox", "sleep", "1000")
    try:
        return {"took": 1000 * _median(stage, lambda: engine.time("exec", name, "true"))}
    finally:
        engine.run("rm", "-f", name)


def _parallel(stage: EngineStage, product: EngineProduct) -> Values:
    engine = stage.engine(product)
    words = ("run", "--rm", "busybox", "true")
    began = time.monotonic()
    running = [engine.begin(*words) for _ in range(stage.scale.parallel)]
    for process in running:
        engine.finish(process, *words)
    return {"took": time.monotonic() - began}


def _build(stage: EngineStage, product: EngineProduct) -> Values:
    engine, place = stage.engine(product), str(stage.context())
    fresh = _median(stage, lambda: engine.time("build", "--no-cache", "-t", "six", place))
    engine.run("build", "-t", "six", place)
    cached = _median(stage, lambda: engine.time("build", "-t", "six", place))
    return {"fresh": 1000 * fresh, "cached": 1000 * cached}


def _transfer(stage: EngineStage, product: EngineProduct) -> Values:
    engine = stage.engine(product)
    engine.run("load", "-i", str(stage.big_image()))
    with stage.registry(engine) as address:
        name = f"{address}/big:latest"
        engine.run("tag", "big:latest", name)
        push = engine.time("push", *(["--tls-verify=false"] if product.key == "podman" else []), name)
        engine.run("rmi", name, "big:latest")
        pull = engine.time("pull", name)
        engine.run("rmi", name)
    return {"push": push, "pull": pull}


def _start(stage: EngineStage, product: EngineProduct) -> Values:
    with stage.fresh_engine(product) as engine:
        start = engine.start()
        time.sleep(stage.scale.settle_seconds)
        rss, pss = engine.memory()
        return {"start": 1000 * start, "idle": rss, "idle_pss": pss}


def _beside(stage: EngineStage, product: EngineProduct) -> Values:
    """What stands beside a running container, its own process not counted."""
    with stage.fresh_engine(product) as engine:
        engine.start()
        stage.import_image(engine)
        _containers(engine, 1)  # what is loaded for the first one is not the price of each
        time.sleep(stage.scale.settle_seconds)
        before = engine.memory()
        _containers(engine, stage.scale.containers)
        time.sleep(stage.scale.settle_seconds)
        after = engine.memory()
        engine.run("rm", "-f", *engine.run("ps", "-q").split())
    each = [(late - early) / stage.scale.containers for early, late in zip(before, after)]
    return {"rss": each[0], "pss": max(each[1], 0.001)}


def _containers(engine: Engine, count: int) -> None:
    for _ in range(count):
        engine.run("run", "-d", "busybox", "sleep", "1000")


TOOK = "from exec to exit"
ENGINE_FIGURES = (
    command("engine-run", "run --rm busybox true", 0.2, ("run", "--rm", "busybox", "true")),
    command("engine-none", "… --network none", 0.2, ("run", "--rm", "--network", "none", "busybox", "true")),
    command("engine-port", "… -p 18080:80", 0.2, ("run", "--rm", "-p", PORT, "busybox", "true")),
    Figure("engine-exec", "exec", (Measure("took", TOOK, "ms", False, 0.5),), _exec, seconds=2),
    Figure("engine-parallel", "20 times run --rm at once", (Measure("took", "all", "s", False, 0.25),), _parallel, 4),
    Figure(
        "engine-build",
        "build of six lines",
        (
            Measure("fresh", "without cache", "ms", False, 0.3),
            Measure("cached", "cached", "ms", False, 0.5),
        ),
        _build,
        seconds=10,
    ),
    Figure(
        "engine-transfer",
        "300 MB in three layers",
        (
            Measure("push", "push", "s", False, 1.0),
            Measure("pull", "pull", "s", False, 1.0),
        ),
        _transfer,
        seconds=45,
    ),
    Figure(
        "engine-start",
        "start of the daemon",
        (
            Measure("start", "from exec to an answer", "ms", False),
            # Podman has no daemon that stays: what it starts to answer a question is no measure of one.
            Measure("idle", "memory, idle (RSS)", "MB", False, 0.4, "dockerd"),
            Measure("idle_pss", "memory, idle (PSS)", "MB", False, 0.4, "dockerd"),
        ),
        _start,
        seconds=6,
        on_fresh_nodes=True,
    ),
    Figure(
        "engine-beside",
        "beside a running container",
        (
            Measure("rss", "memory (RSS)", "MB", False),
            Measure("pss", "memory (PSS)", "MB", False),
        ),
        _beside,
        seconds=25,
        on_fresh_nodes=True,
    ),
)
