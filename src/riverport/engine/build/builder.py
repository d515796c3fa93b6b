"""`Builder`: builds from a context to a tagged image, several at once; what a killed daemon left is cleared away.

The stages of a build run as tasks, each after those it needs, and say what they do into one transcript
(`transcript.py`). A client that goes away closes the iterator, which cancels all of it.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riverport.base.logging import get_logger
from riverport.engine.build import run_step
from riverport.engine.build.base_images import BaseImages, Logins
from riverport.engine.build.cache import BuildCache, StepIndex
from riverport.engine.build.caches import CacheMounts
from riverport.engine.build.context import read_dockerfile, remove_context, remove_ignored, unpack_context
from riverport.engine.build.dockerfile import Dockerfile, parse
from riverport.engine.build.expand import expand
from riverport.engine.build.instructions import Arg, Label, Run
from riverport.engine.build.lexer import DockerfileError
from riverport.engine.build.options import BuildOptions
from riverport.engine.build.remote import fetch_context
from riverport.engine.build.running import Runs
from riverport.engine.build.stage import StageRun
from riverport.engine.build.stages import find_base, plan_stages
from riverport.engine.build.step_containers import StepContainers
from riverport.engine.build.transcript import Part, Transcript
from riverport.engine.build.variables import BuildArguments, GlobalArguments, platform_arguments, unconsumed
from riverport.engine.build.workshop import Workshop
from riverport.engine.errors import EngineError, InvalidParameter, NotFound
from riverport.engine.images.platform import Platform
from riverport.engine.images.reference import InvalidReference, Reference
from riverport.engine.images.reference import parse as parse_reference
from riverport.engine.images.removal import User
from riverport.engine.release import DOCKER_RELEASE

if TYPE_CHECKING:
    from riverport.engine.containers.containers import Containers
    from riverport.engine.events import Events
    from riverport.engine.images.image import Image
    from riverport.engine.images.store import ImageStore
    from riverport.engine.networks.networks import Networks
    from riverport.engine.runtime.runtime import Runtime
    from riverport.engine.state import State
    from riverport.engine.storage.store import Storage
    from riverport.engine.volumes.volumes import Volumes

log = get_logger(__name__)

Item = dict[str, Any]

_RED, _PLAIN = "\x1b[91m", "\x1b[0m"


class Builder:
    def __init__(
        self,
        data_root: Path,
        state: "State",
        events: "Events",
        images: "ImageStore",
        storage: "Storage",
        runtime: "Runtime",
        networks: "Networks",
        volumes: "Volumes",
        containers: "Containers",
    ) -> None:
        self._directory = data_root / "build"
        self._events = events
        self._images = images
        self._storage = storage
        self._index = StepIndex(state)
        self._caches = CacheMounts(self._directory / "caches", state)
        self._runs = Runs(
            self._directory / "containers",
            state,
            storage,
            runtime,
            networks,
            volumes,
            StepContainers(data_root, containers),
        )
        self._held: dict[Path, set[str]] = {}
        others = images.users
        images.users = lambda: [*others(), *self._image_users()]

    async def start(self) -> None:
        """After everything that it uses has started."""
        for name in ("contexts", "containers"):
            await remove_context(self._directory / name)
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        await self._runs.recover()
        await self._caches.start()
        self._index.start(lambda image_id: self._images.catalogue.get(image_id) is not None)

    async def stop(self) -> None:
        """Builds end with the requests that asked for them."""

    async def usage(self) -> list[Item]:
        """`BuildCache` of /system/df."""
        return await self._caches.usage()

    async def prune(self, until: float | None = None, ids: frozenset[str] = frozenset()) -> tuple[list[str], int]:
        """Caches of RUN mounts that nobody uses; steps' layers are images, which are pruned as such."""
        removed, size = await self._caches.prune(until, ids)
        self._events.publish("builder", "prune", "", {"reclaimed": str(size)})
        return removed, size

    async def build(
        self, options: BuildOptions, body: AsyncIterator[bytes], logins: Logins
    ) -> AsyncGenerator[Item, None]:
        """What the client is told. Raises EngineError, before the first item for a request that is wrong."""
        tags = [_tag(text) for text in options.tags]
        directory = self._directory / "contexts" / secrets.token_hex(16)
        await asyncio.to_thread((directory / "context").mkdir, parents=True)
        try:
            dockerfile, context = await _read(options, body, directory)
            build = _Build(self, options, dockerfile, context, directory, logins)
            async with aclosing(build.items()) as items:
                said: list[Item] = []
                try:
                    async for item in items:
                        if not options.quiet:
                            yield item
                        else:
                            said.append(item)
                except EngineError:
                    # Of a quiet build, too, the client sees what has led to its failure.
                    for item in said:
                        yield item
                    raise
            image = build.result()
            if not options.quiet:
                yield {"stream": f"Successfully built {image.short_id}\n"}
            for tag in tags:
                self._images.name(image, tag)
                self._images.tell("tag", image, tag.familiar)
                if not options.quiet:
                    yield {"stream": f"Successfully tagged {tag.familiar}\n"}
            if options.quiet:
                yield {"stream": f"{image.id}\n"}
        finally:
            self._held.pop(directory, None)
            await asyncio.shield(remove_context(directory))

    def _image_users(self) -> list[User]:
        """Images of builds under way, so that nobody removes a step's image before the next step stands on it."""
        return [User(directory.name, image, True) for directory, held in self._held.items() for image in held]

    def workshop(
        self,
        options: BuildOptions,
        dockerfile: Dockerfile,
        context: Path | None,
        directory: Path,
        logins: Logins,
    ) -> Workshop:
        wanted = Platform.parse(options.platform) if options.platform else None
        return Workshop(
            options=options,
            directory=directory,
            context=context,
            escape=dockerfile.escape,
            platform=wanted or Platform.here(),
            release=DOCKER_RELEASE,
            stages=dockerfile.stages,
            images=self._images,
            storage=self._storage,
            bases=BaseImages(self._images, options.pull, wanted, logins),
            cache=BuildCache(self._index, self._images, self._given(options.cache_from)),
            runs=self._runs,
            caches=self._caches,
            # Of this build only: one that is stuck keeps no other waiting.
            turns=asyncio.Semaphore(max(2, len(os.sched_getaffinity(0)))),
            held=self._held.setdefault(directory, set()),
            now=_now,
        )

    def _given(self, names: Sequence[str]) -> "list[Image] | None":
        """The images that `--cache-from` names, as far as they are here."""
        if not names:
            return None
        found = []
        for name in names:
            try:
                found.append(self._images.resolve(name))
            except (NotFound, InvalidReference):
                continue
        return found


class _Build:
    """One build: its plan, its stages' tasks, its transcript."""

    def __init__(
        self,
        builder: Builder,
        options: BuildOptions,
        dockerfile: Dockerfile,
        context: Path | None,
        directory: Path,
        logins: Logins,
    ) -> None:
        """Raises InvalidParameter."""
        self._options = options
        self._dockerfile = dockerfile
        self._workshop = builder.workshop(options, dockerfile, context, directory, logins)
        self._platform_arguments = platform_arguments(str(self._workshop.platform), str(Platform.here()))
        self._globals = GlobalArguments(options.arguments, self._platform_arguments)
        self._read_globals()
        values = self._globals.values()
        self._bases = [_expanded(stage.origin.image, values, dockerfile.escape) for stage in dockerfile.stages]
        self._platforms = [_platform(stage.origin.platform, values, dockerfile.escape) for stage in dockerfile.stages]
        self._plan = plan_stages(dockerfile.stages, options.target, self._bases)
        self._check_mounts()
        self._add_labels()
        self._transcript = Transcript()
        self._tasks: dict[int, asyncio.Task[Image]] = {}
        self._parts: dict[int, Part] = {}

    def _read_globals(self) -> None:
        for argument in self._dockerfile.arguments:
            for name, default in argument.pairs:
                values = self._globals.values()
                value = None if default is None else _expanded(default, values, self._dockerfile.escape)
                self._globals.declare(name, value)

    def _check_mounts(self) -> None:
        """A secret that is missing, say, is told before the first step, not after an hour of them."""
        for number in self._plan.order:
            for instruction in self._dockerfile.stages[number].instructions:
                if isinstance(instruction, Run):
                    run_step.check_early(instruction)

    def _add_labels(self) -> None:
        target = self._dockerfile.stages[self._plan.order[-1]]
        for name, value in sorted(self._options.labels.items()):
            code = f"LABEL {name}={value}"
            target.instructions.append(Label(code=code, line=0, pairs=((name, value),), literal=True))

    async def items(self) -> AsyncGenerator[Item, None]:
        """Everything up to the end of the last stage. Raises EngineError."""
        self._open_parts()
        work = asyncio.create_task(self._run_stages(), name="build")
        try:
            async for item in self._transcript.items(work):
                yield item
            await asyncio.wait({work})
            for item in self._transcript.rest(self._failed_part()):
                yield item
            work.result()
            if names := unconsumed(self._options.arguments, self._declared()):
                yield {"stream": f"[Warning] One or more build-args [{' '.join(names)}] were not consumed\n"}
        finally:
            work.cancel()
            await asyncio.wait({work})
            self._workshop.close()

    def result(self) -> "Image":
        return self._tasks[self._plan.order[-1]].result()

    def _open_parts(self) -> None:
        """The head with the global arguments, then one part for each stage, in the Dockerfile's order."""
        stages = [self._dockerfile.stages[number] for number in self._plan.order]
        arguments = self._dockerfile.arguments
        self._workshop.total = len(arguments) + sum(1 + len(stage.instructions) for stage in stages)
        head = self._transcript.part()
        for warning in self._dockerfile.warnings:
            head.say(f"{_RED}[WARNING]: {warning}\n{_PLAIN}")
        if self._dockerfile.warnings:
            head.say(f"{_RED}[WARNING]: Empty continuation lines will become errors in a future release.\n{_PLAIN}")
        for number, argument in enumerate(arguments, 1):
            self._workshop.tell_step(head, number, argument.code)
        head.close()
        self._parts = {stage.number: self._transcript.part() for stage in stages}

    async def _run_stages(self) -> None:
        number = len(self._dockerfile.arguments) + 1
        for stage in self._plan.order:
            self._tasks[stage] = asyncio.create_task(self._run_stage(stage, number), name=f"stage {stage}")
            number += 1 + len(self._dockerfile.stages[stage].instructions)
        tasks = set(self._tasks.values())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            failed = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in failed:
            task.result()

    async def _run_stage(self, number: int, step: int) -> "Image":
        stage, part = self._dockerfile.stages[number], self._parts[number]
        waits_for = [self._tasks[needed] for needed in self._plan.waits_for[number]]
        if waits_for:
            await asyncio.wait(waits_for)
            if any(task.cancelled() or task.exception() for task in waits_for):
                raise asyncio.CancelledError
        async with self._workshop.turns:
            self._workshop.tell_step(part, step, stage.origin.code)
            arguments = BuildArguments(self._options.arguments, self._platform_arguments, self._globals.defaults)
            base = await self._base(number, part)
            image = await StageRun(self._workshop, stage, arguments, part, step).run(base)
        self._workshop.built[number] = image
        part.close()
        return image

    async def _base(self, number: int, part: Part) -> "Image | None":
        stages = self._dockerfile.stages
        if not self._bases[number]:
            raise InvalidParameter(f"base name ({stages[number].origin.image}) should not be blank")
        earlier = find_base(stages, self._bases[number], number)
        if earlier is not None:
            return self._workshop.built[earlier]
        return await self._workshop.bases.get(self._bases[number], part, self._platforms[number])

    def _failed_part(self) -> Part | None:
        for number, task in self._tasks.items():
            if task.done() and not task.cancelled() and task.exception() is not None:
                return self._parts[number]
        return None

    def _declared(self) -> set[str]:
        stages = self._dockerfile.stages
        arguments = [*self._dockerfile.arguments]
        arguments += [found for stage in stages for found in stage.instructions if isinstance(found, Arg)]
        return {name for argument in arguments for name, _ in argument.pairs}


async def _read(options: BuildOptions, body: AsyncIterator[bytes], directory: Path) -> tuple[Dockerfile, Path | None]:
    """The Dockerfile, and the context unless a URL led to a Dockerfile only. Raises InvalidParameter."""
    context = directory / "context"
    source: bytes | None = None
    if options.remote:
        source = await fetch_context(options.remote, context, directory)
    else:
        await unpack_context(body, context, directory)
    try:
        if source is not None:
            return parse(source), None
        text, name = await asyncio.to_thread(read_dockerfile, context, options.dockerfile)
        dockerfile = parse(text, name)
    except DockerfileError as error:
        raise InvalidParameter(str(error)) from error
    await asyncio.to_thread(remove_ignored, context, name)
    return dockerfile, context


def _tag(text: str) -> Reference:
    reference = parse_reference(text)
    if reference.digest is not None:
        raise InvalidParameter("build tag cannot contain a digest")
    return reference.or_latest()


def _expanded(text: str, values: Mapping[str, str], escape: str) -> str:
    try:
        return expand(text, values, escape)
    except ValueError as error:
        raise InvalidParameter(str(error)) from error


def _platform(text: str, values: Mapping[str, str], escape: str) -> Platform | None:
    expanded = _expanded(text, values, escape)
    try:
        return Platform.parse(expanded) if expanded else None
    except InvalidParameter as error:
        raise InvalidParameter(f"failed to parse platform {expanded}: {error}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
