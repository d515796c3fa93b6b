"""Runs health probes of containers that run, one after another for each of them."""

import asyncio
from typing import TYPE_CHECKING

from riverport.engine.containers.catalogue import Catalogue
from riverport.engine.containers.container import Container
from riverport.engine.containers.health import OUTPUT_BYTES, Health, Probe, Result, timeout_text
from riverport.engine.containers.lifecycle import Tasks
from riverport.engine.containers.times import SECOND_NS
from riverport.engine.errors import EngineError

if TYPE_CHECKING:
    from riverport.engine.containers.execs import Execs


class HealthMonitor:
    def __init__(self, catalogue: Catalogue, execs: "Execs", tasks: Tasks) -> None:
        self._catalogue = catalogue
        self._execs = execs
        self._tasks = tasks

    def begin(self, container: Container, *, resumes: bool = False) -> None:
        """`resumes`: the container has run all the time, so what is known of its health stays."""
        self.end(container)
        probe = Probe.of(container.config)
        if probe is None:
            container.state.health = None
            return
        health = Health()
        if resumes and container.state.health:
            known = container.state.health
            health = Health(known["Status"], known["FailingStreak"], known["Log"])
        container.state.health = health.document()
        self._catalogue.note(container)
        container.health_task = self._tasks.spawn(
            self._monitor(container, probe, health), f"health of {container.name}"
        )

    def end(self, container: Container) -> None:
        if container.health_task is not None:
            container.health_task.cancel()
            container.health_task = None

    async def _monitor(self, container: Container, probe: Probe, health: Health) -> None:
        started_ns = container.state.started_at_ns
        while True:
            await asyncio.sleep(health.pause_ns(probe, self._catalogue.clock_ns(), started_ns) / SECOND_NS)
            changed = health.take(probe, await self._probe(container, probe), started_ns)
            container.state.health = health.document()
            self._catalogue.note(container)
            if changed:
                self._catalogue.publish(container, f"health_status: {health.status}")

    async def _probe(self, container: Container, probe: Probe) -> Result:
        command = probe.command(container.config["Shell"])
        start_ns = self._catalogue.clock_ns()
        try:
            probed = await self._execs.run_collecting(container, command, OUTPUT_BYTES, probe.timeout_ns / SECOND_NS)
        except EngineError as error:
            return Result(start_ns, self._catalogue.clock_ns(), -1, str(error))
        output = probed.output.decode("utf-8", "replace")
        end_ns = self._catalogue.clock_ns()
        if probed.exit_code is None:
            return Result(start_ns, end_ns, -1, timeout_text(probe.timeout_ns, output))
        return Result(start_ns, end_ns, probed.exit_code, output)
