"""RUN as a step: mounts and here-documents read, looked for in the cache, run in a container."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from riverport.engine.build.config import command_line
from riverport.engine.build.dockerignore import NOTHING
from riverport.engine.build.documents import Step
from riverport.engine.build.expand import expand
from riverport.engine.build.instructions import Run
from riverport.engine.build.lexer import parse_heredoc_word
from riverport.engine.build.mounts import Mount, check_session, parse_mount
from riverport.engine.build.run_mounts import SCRIPTS, TreeAndLayers, prepared, script
from riverport.engine.build.running import Command, StepFailed
from riverport.engine.build.sources import SourceNotFound
from riverport.engine.errors import InvalidParameter

if TYPE_CHECKING:
    from riverport.engine.build.stage import StageRun
    from riverport.engine.build.workshop import Workshop

Json = dict[str, Any]


async def perform(workshop: "Workshop", run: "StageRun", instruction: Run, variables: Mapping[str, str]) -> None:
    """Raises EngineError; StepFailed for an exit code."""
    mounts = _mounts(instruction, variables, workshop.escape)
    words, program = _command(instruction, run)
    arguments = run.arguments.visible(run.draft.environment)
    recorded = run.arguments.recorded(arguments)
    # `|2 A=1 B=2 /bin/sh -c x` is how Docker writes that a command has seen arguments.
    saved = [f"|{len(recorded)}", *recorded, *words] if arguments else words
    step = Step(run.draft, tuple(saved), await _identity(workshop, run, instruction, mounts, program))
    if run.take_cached(step):
        return
    config = dict(run.draft.config)
    config["Env"] = [*run.draft.environment, *(f"{name}={value}" for name, value in arguments.items())]
    command = Command(tuple(words), config, _host_config(workshop, instruction))
    scratch = workshop.directory / f"run-{command.short_id}"
    run.part.say(f" ---> Running in {command.short_id}\n")
    async with prepared(mounts, config["WorkingDir"], _Trees(workshop, run), workshop.caches, scratch) as ready:
        if program is not None:
            name, content = program
            ready.entries.append(script(content, name, scratch / "program"))
        options = workshop.options
        try:
            layer = await workshop.runs.run(
                command,
                run.image_id,
                ready,
                run.tell,
                keeps_done=options.keeps_done,
                keeps_failed=not options.force_remove,
            )
        except StepFailed:
            if options.force_remove:
                run.part.say(f" ---> Removed intermediate container {command.short_id}\n")
            raise
    await workshop.finish(run, step, layer, command.container_id)


def check_early(instruction: Run) -> None:
    """Before the build begins, what is wrong with mounts in which no variable has a say. Raises InvalidParameter."""
    literal = tuple(text for text in instruction.mounts if "$" not in text)
    _mounts(replace(instruction, mounts=literal), {}, "\\")


def _mounts(instruction: Run, variables: Mapping[str, str], escape: str) -> list[Mount]:
    try:
        mounts = [parse_mount(text, lambda word: expand(word, variables, escape)) for text in instruction.mounts]
        for mount in mounts:
            check_session(mount)
        return mounts
    except ValueError as error:
        raise InvalidParameter(str(error)) from error


def _command(instruction: Run, run: "StageRun") -> tuple[list[str], tuple[str, bytes] | None]:
    """The command line; and, of a here-document with `#!`, the program that it is."""
    words = instruction.words
    program = None
    if instruction.heredocs:
        if len(words) != 1 or instruction.is_json:
            raise InvalidParameter(f"parsing produced an invalid run command: {list(words)}")
        first = instruction.heredocs[0]
        if parse_heredoc_word(words[0]) is None:
            text = words[0]
            for heredoc in instruction.heredocs:
                text += f"\n{heredoc.content}{heredoc.word}"
            words = (text,)
        elif first.text.startswith("#!"):
            name = first.word.replace("/", "_")
            program = (name, first.text.encode("utf-8", "surrogateescape"))
            words = (f"{SCRIPTS}/{name}",)
        else:
            words = (first.text,)
    return command_line(words, instruction.is_json, run.draft), program


async def _identity(
    workshop: "Workshop", run: "StageRun", instruction: Run, mounts: list[Mount], program: tuple[str, bytes] | None
) -> tuple[str, ...]:
    """What decides over the outcome beside the command itself: mounts count with their content, caches without."""
    found = [f"network={instruction.network}"] if instruction.network != "default" else []
    if program is not None:
        found.append(program[1].decode("utf-8", "surrogateescape"))
    for mount in mounts:
        found.append(repr(mount))
        if mount.type != "bind":
            continue
        if mount.from_:
            image = await workshop.origin(mount.from_, run.stage, run.part)
            found.append(image.id if image is not None else "scratch")
        else:
            found.append(await asyncio.to_thread(_context_identity, workshop, mount))
    return tuple(found)


def _context_identity(workshop: "Workshop", mount: Mount) -> str:
    try:
        return workshop.context_tree().select(mount.source or ".", NOTHING)[0].identity
    except (SourceNotFound, IndexError):
        raise InvalidParameter(f'failed to compute cache key: "/{mount.source.lstrip("/")}": not found') from None


def _host_config(workshop: "Workshop", instruction: Run) -> Json:
    config = dict(workshop.options.host_config)
    if instruction.network != "default":
        config["NetworkMode"] = instruction.network
    return config


class _Trees:
    """Where the binds of a step come from."""

    def __init__(self, workshop: "Workshop", run: "StageRun") -> None:
        self._workshop = workshop
        self._run = run

    def tree(self, name: str) -> AbstractAsyncContextManager[TreeAndLayers]:
        return self._workshop.tree(name, self._run.stage, self._run.part)
