"""One stage on its way: each step looked for in the cache, else done, and an image made of it.

    FROM ─▶ step ─▶ probe ── hit ──▶ the image that the same step made on the same parent
                      └── miss ──▶ configure | copy | run ─▶ layer ─▶ image ─▶ next step

After the first miss no step asks the cache again. All that a step knows of its past is in `Draft` (configuration) and
`Image` (files, history), so a stage can be taken up at any step.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from riverport.engine.build import documents
from riverport.engine.build.config import Draft, begin, configured, expand_instruction, variables_of
from riverport.engine.build.dockerfile import Stage, parse_trigger
from riverport.engine.build.documents import Step
from riverport.engine.build.instructions import Arg, Copy, Instruction, Run, Workdir
from riverport.engine.build.lexer import DockerfileError
from riverport.engine.build.transcript import Part
from riverport.engine.build.variables import BuildArguments
from riverport.engine.errors import InvalidParameter

if TYPE_CHECKING:
    from riverport.engine.build.workshop import Workshop
    from riverport.engine.images.image import Image
    from riverport.engine.storage.layers import Layer

Json = dict[str, Any]


class StageRun:
    """`workshop` is what all stages of a build share. `image` is None on scratch, before a step."""

    def __init__(self, workshop: "Workshop", stage: Stage, arguments: BuildArguments, part: Part, number: int) -> None:
        self.workshop = workshop
        self.stage = stage
        self.arguments = arguments
        self.part = part
        self.image: Image | None = None
        self.draft = Draft()
        self._number = number  # of the FROM among all steps
        self._probing = not workshop.options.no_cache

    async def run(self, base: "Image | None") -> "Image":
        """From the base image (None: scratch) through all steps. Raises EngineError."""
        if base is not None:
            self._stand_on(base)
        self.draft = begin(base.config if base is not None else None)
        await self._run_triggers()
        self._tell_image()
        for offset, instruction in enumerate(self.stage.instructions, 1):
            self.workshop.tell_step(self.part, self._number + offset, instruction.code)
            await self._dispatch(instruction)
            self._tell_image()
        if self.image is None:
            raise InvalidParameter("No image was generated. Is your Dockerfile empty?")
        self.part.emit({"aux": {"ID": self.image.id}})
        return self.image

    def _tell_image(self) -> None:
        self.part.say(f" ---> {self.image.short_id if self.image is not None else ''}\n")

    async def _run_triggers(self) -> None:
        triggers: Sequence[str] = self.draft.config.get("OnBuild") or ()
        if not triggers:
            return
        self.draft = self.draft.with_config(OnBuild=None)
        self.part.say(f"# Executing {len(triggers)} build trigger{'s' if len(triggers) > 1 else ''}\n")
        for trigger in triggers:
            try:
                instruction = parse_trigger(trigger)
            except DockerfileError as error:
                raise InvalidParameter(str(error)) from error
            await self._dispatch(instruction)

    async def _dispatch(self, instruction: Instruction) -> None:
        self.draft = self.draft.with_config(Image=self.image.id if self.image is not None else "")
        environment = self.draft.environment
        arguments = self.arguments.visible(environment)
        variables = variables_of(environment, arguments)
        escape = self.workshop.escape
        try:
            instruction = expand_instruction(instruction, variables, escape)
        except ValueError as error:
            raise InvalidParameter(str(error)) from error
        effect = configured(instruction, self.draft, variables, escape)
        if effect is not None:
            for note in effect.notes:
                self.part.say(note)
            if isinstance(instruction, Arg):
                for name, default in instruction.pairs:
                    self.arguments.declare(name, default)
            step = Step(effect.draft, tuple(effect.command))
            if not self.take_cached(step):
                await self.workshop.configure(self, step, isinstance(instruction, Workdir))
            return
        match instruction:
            case Copy():
                await self.workshop.copy(self, instruction)
            case Run():
                await self.workshop.run(self, instruction, variables)
            case _:
                raise InvalidParameter(f"unsupported command type: {type(instruction).__name__}")

    # ---- what steps use

    @property
    def image_id(self) -> str | None:
        return self.image.id if self.image is not None else None

    def take_cached(self, step: Step) -> bool:
        """The image of the same step on the same parent, if there is one: the stage goes on from it."""
        if not self._probing:
            return False
        found = self.workshop.cache.find(self.image, step, self.workshop.platform)
        if found is None:
            self._probing = False
            return False
        self.part.say(" ---> Using cache\n")
        self._stand_on(found)
        self.draft = step.draft
        return True

    async def take(self, step: Step, layer: "Layer | None") -> None:
        """The step is done: `layer`, whose use is ours to give back, holds its changes; None if it changed no file."""
        workshop = self.workshop
        parent: Json = dict(self.image.document) if self.image is not None else {}
        diff_id = layer.diff_id if layer is not None else None
        document = documents.child_document(parent, step, diff_id, workshop.now(), workshop.platform, workshop.release)
        try:
            image = workshop.images.create(documents.encoded(document), self.image_id)
        finally:
            if layer is not None:
                await workshop.storage.layers.release(layer.chain)
        workshop.cache.add(self.image, step, workshop.platform, image)
        self._stand_on(image)
        self.draft = step.draft

    def _stand_on(self, image: "Image") -> None:
        self.image = image
        self.workshop.held.add(image.id)

    async def tell(self, text: str) -> None:
        """Output of a command; waits while nobody listens and much is waiting."""
        self.part.say(text)
        await self.part.room()
