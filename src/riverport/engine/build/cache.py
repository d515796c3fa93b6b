"""Which step on which image has made which image.

An entry is a hint: it counts only while both images are there. Images given with `--cache-from` count by their history
instead, as they may come from another machine; what is taken from one is cut off after the step and becomes an image.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from riverport.engine.build import documents
from riverport.engine.build.documents import Step
from riverport.engine.images.platform import Platform
from riverport.engine.state import State

if TYPE_CHECKING:
    from riverport.engine.images.image import Image
    from riverport.engine.images.store import ImageStore

KIND = "build_steps"
SWEEP_EVERY = 10_000
"""New entries after which those of removed images are looked for; so there are at most twice as many as images."""


class StepIndex:
    """All steps ever done here, by their key."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._steps: dict[str, str] = {}
        self._is_image: Callable[[str], bool] = lambda _: True
        self._sweep_at = SWEEP_EVERY

    def start(self, is_image: Callable[[str], bool]) -> None:
        self._is_image = is_image
        self._steps = {key: document["image"] for key, document in self._state.load(KIND).items()}
        self._sweep()

    def get(self, key: str) -> str | None:
        return self._steps.get(key)

    def put(self, key: str, image_id: str) -> None:
        self._steps[key] = image_id
        self._state.save(KIND, key, {"image": image_id})
        if len(self._steps) > self._sweep_at:
            self._sweep()

    def _sweep(self) -> None:
        """Forget the steps of images that are gone."""
        gone = [key for key, image_id in self._steps.items() if not self._is_image(image_id)]
        for key in gone:
            del self._steps[key]
        self._state.delete(KIND, gone)
        self._sweep_at = 2 * len(self._steps) + SWEEP_EVERY


class BuildCache:
    """The index as one build sees it. With `given` images, only those and what they were made of count."""

    def __init__(self, index: StepIndex, images: "ImageStore", given: "Sequence[Image] | None") -> None:
        self._index = index
        self._images = images
        self._given = given

    def find(self, parent: "Image | None", step: Step, platform: Platform) -> "Image | None":
        known = self._index.get(documents.step_key(parent.id if parent is not None else "", step, platform))
        image = self._images.catalogue.get(known) if known is not None else None
        if self._given is None:
            return image
        if image is not None and image.id in self._ancestry():
            return image
        return self._from_history(parent, step) if parent is not None else None

    def add(self, parent: "Image | None", step: Step, platform: Platform, image: "Image") -> None:
        self._index.put(documents.step_key(parent.id if parent is not None else "", step, platform), image.id)

    def _ancestry(self) -> set[str]:
        found: set[str] = set()
        for image in self._given or ():
            current: Image | None = image
            while current is not None and current.id not in found:
                found.add(current.id)
                current = self._images.catalogue.get(current.parent) if current.parent is not None else None
        return found

    def _from_history(self, parent: "Image", step: Step) -> "Image | None":
        for image in self._given or ():
            if documents.continues(image.document, parent.document, step):
                document = documents.cut(image.document, parent.document, step)
                return self._images.create(documents.encoded(document), parent.id)
        return None
