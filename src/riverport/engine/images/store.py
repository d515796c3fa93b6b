"""`ImageStore`: images, their names and layers, as the other parts of the engine use them."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from riverport.base.logging import get_logger
from riverport.engine.api.filters import Filters
from riverport.engine.errors import NotFound
from riverport.engine.events import Events
from riverport.engine.images import listing, removal, selection
from riverport.engine.images.blobs import Blobs
from riverport.engine.images.catalogue import Catalogue, is_id
from riverport.engine.images.image import Image, mismatch
from riverport.engine.images.manifests import parse_config
from riverport.engine.images.platform import Platform
from riverport.engine.images.reference import Reference, parse
from riverport.engine.images.turns import Turns
from riverport.engine.settings import Settings
from riverport.engine.state import State
from riverport.engine.storage.layers import ChainId, Layer
from riverport.engine.storage.store import Storage

log = get_logger(__name__)

Json = dict[str, Any]


class ImageStore:
    def __init__(
        self,
        settings: Settings,
        state: State,
        storage: Storage,
        events: Events,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.layers = storage.layers
        self.catalogue = Catalogue(state)
        self.blobs = Blobs(settings.data_root / "blobs", state, storage.layers)
        self.users: Callable[[], Iterable[removal.User]] = tuple
        """Set by the containers, which are made of images and made later."""
        self._state = state
        self._events = events
        self.clock_ns = clock_ns
        self.arriving = Turns()
        """By chain: of two pulls of a layer one fetches it."""
        storage.chain_of_image = self._chain_of

    async def start(self) -> None:
        """After the storage; removes layers that neither an image nor a container uses."""
        self.catalogue.load()
        for image in self.catalogue:
            if image.chain is not None and self.layers.get(image.chain) is None:
                log.error("an image's layers are gone", image=image.id)
                self.catalogue.drop(image.id)
                continue
            self._settle(image)
        await self.layers.sweep()
        self.blobs.start()

    async def stop(self) -> None:
        """Whatever is still arriving is dropped at the next start."""

    # ---- finding

    def count(self) -> int:
        return len(self.catalogue)

    def resolve(self, text: str, platform: Platform | None = None) -> Image:
        """By name or id. Raises NotFound with Docker's text, also if it is for another platform than that asked for."""
        image = self.catalogue.resolve(text)
        if platform is not None and not platform.runs_image(image.source.platform):
            raise NotFound(mismatch(text, image, platform))
        return image

    def references(self, image: Image) -> list[Reference]:
        return self.catalogue.references(image.id)

    def image_layers(self, text: str) -> list[Path]:
        """The directories of an image's layers, topmost first."""
        return self.layers.diffs(self.resolve(text).chain)

    def _chain_of(self, image_id: str) -> ChainId | None:
        return (self.catalogue.get(image_id) or self.resolve(image_id)).chain

    async def login(self, document: Json) -> str:
        """See `images.login`; imported there, as few daemons ever ask a registry anything."""
        from riverport.engine.images.login import login

        return await login(self.settings, document)

    # ---- making

    def create(self, raw: bytes, parent: str | None = None) -> Image:
        """An image from the bytes of its config, whose layers are registered; it uses them from now on.

        The same bytes are the same image. `parent` is the id of the image it was built on.
        """
        source = parse_config(raw)
        known = self.catalogue.get(source.id)
        if known is not None:
            return known
        image = Image(source, parent)
        if image.chain is not None and self.layers.get(image.chain) is None:
            raise NotFound(f"layer does not exist: {image.chain}")
        self._settle(image)
        self.catalogue.add(image)
        return image

    def _settle(self, image: Image) -> None:
        if image.chain is not None:
            self.layers.use(image.chain)
        image.size = sum(layer.size for layer in self.layers.stack(image.chain))

    def name(self, image: Image, reference: Reference) -> None:
        """Without an event: pulls, loads and builds tell their own."""
        self.catalogue.name(reference, image.id, self.clock_ns())

    def tag(self, text: str, reference: Reference) -> Image:
        image = self.resolve(text)
        self.name(image, reference.or_latest())
        self.tell("tag", image, reference.or_latest().familiar)
        return image

    def tell(self, action: str, image: Image, name: str | None = None) -> None:
        """An event about an image; without a name it is called by its id."""
        self._events.publish("image", action, image.id, {**image.labels, "name": name or image.id})

    def tell_transfer(self, action: str, reference: Reference, image: Image | None) -> None:
        """`pull` and `push` are about a name."""
        labels = image.labels if image is not None else {}
        self._events.publish("image", action, reference.familiar, {**labels, "name": reference.familiar_name})

    # ---- showing

    def rows(self, filters: Filters, show_all: bool, shared_size: bool, version: tuple[int, int]) -> list[Json]:
        names = self.catalogue.names()
        found = selection.listed(self.catalogue, names, filters, show_all, self.resolve, self.clock_ns())
        rows = [listing.row(image, own, version) for image, own in found]
        if shared_size:
            shared = self._shared([image for image, _ in found], lambda layer: layer.size)
            for made, (image, _) in zip(rows, found, strict=True):
                made["SharedSize"] = shared[image.id]
        return rows

    def detail(self, text: str, version: tuple[int, int], platform: Platform | None = None) -> Json:
        image = self.resolve(text, platform)
        return listing.detail(image, self.references(image), self.layers.stack(image.chain), version)

    def history(self, text: str, platform: Platform | None = None) -> list[Json]:
        image = self.resolve(text, platform)
        layers = {layer.chain: layer for layer in self.layers.stack(image.chain)}
        return listing.history(image, self._ancestors(image), layers, self.catalogue.names())

    def _ancestors(self, image: Image) -> list[Image]:
        found: list[Image] = []
        while image.parent is not None and (parent := self.catalogue.get(image.parent)) is not None:
            found.append(parent)
            image = parent
        return found

    async def usage(self) -> tuple[int, list[Json]]:
        """Bytes of everything, and the images' rows with what they share; a kept archive counts with its layer.

        What rows have for themselves, and what they share once, is everything, unless a container holds the layers of
        an image that was removed.
        """
        names = self.catalogue.names()
        found = selection.listed(self.catalogue, names, Filters(), False, self.resolve, self.clock_ns())
        shared = self._shared([image for image, _ in found], self._bytes_of)
        counts: dict[str, int] = {}
        for user in self.users():
            counts[user.image_id] = counts.get(user.image_id, 0) + 1
        rows = []
        for image, own in found:
            made = listing.row(image, own, (1, 44))
            made["Size"] = sum(self._bytes_of(layer) for layer in self.layers.stack(image.chain))
            made["SharedSize"] = shared[image.id]
            made["Containers"] = counts.get(image.id, 0)
            rows.append(made)
        return sum(self._bytes_of(layer) for layer in self.layers), rows

    def _bytes_of(self, layer: Layer) -> int:
        return layer.size + self.blobs.kept_bytes(layer.diff_id)

    def _shared(self, images: Sequence[Image], size: Callable[[Layer], int]) -> Mapping[str, int]:
        """Of each image, the bytes of layers that another of them has, too."""
        stacks = {image.id: self.layers.stack(image.chain) for image in images}
        counts: dict[ChainId, int] = {}
        for stack in stacks.values():
            for layer in stack:
                counts[layer.chain] = counts.get(layer.chain, 0) + 1
        return {key: sum(size(one) for one in stack if counts[one.chain] > 1) for key, stack in stacks.items()}

    # ---- removing

    async def remove(self, text: str, force: bool = False, prune_parents: bool = True) -> list[Json]:
        """What `docker rmi` answers: what was untagged and deleted, in order. Raises NotFound, Conflict."""
        image = self.resolve(text)
        facts = self._facts(image)
        if is_id(image.id, text):
            plan = removal.plan_by_id(facts, force)
        else:
            reference = parse(text).or_latest()
            if reference.digest is not None:
                reference = reference.with_digest(reference.digest)
            plan = removal.plan_by_name(facts, reference, text, force)
        records = [self._untag(image, reference) for reference in plan.untag]
        if plan.delete:
            await self._delete(image, prune_parents, records)
        return records

    async def prune(self, filters: Filters) -> tuple[list[Json], int]:
        """What went, and how many bytes came back."""
        records: list[Json] = []
        reclaimed = 0
        while images := self._prunable(filters):
            for image in images:
                for reference in self.references(image):
                    records.append(self._untag(image, reference))
                reclaimed += await self._delete(image, True, records)
        self._events.publish("image", "prune", "", {"reclaimed": str(reclaimed)})
        return records, reclaimed

    def _prunable(self, filters: Filters) -> list[Image]:
        used = frozenset(user.image_id for user in self.users())
        found = selection.prunable(self.catalogue, self.catalogue.names(), filters, used, self.clock_ns())
        # Deleting one may take its parents along, which may be in the list.
        return found[:1]

    def _facts(self, image: Image) -> removal.Facts:
        users = [user for user in self.users() if user.image_id == image.id]
        return removal.Facts(image, self.references(image), len(self.catalogue.children(image.id)), users)

    def _untag(self, image: Image, reference: Reference) -> Json:
        self.catalogue.unname(reference)
        self.tell("untag", image)
        return {"Untagged": reference.familiar}

    async def _delete(self, image: Image, prune_parents: bool, records: list[Json]) -> int:
        """The image and, where asked for, parents that nobody has named or uses; returns the bytes that came back."""
        reclaimed = 0
        while True:
            parent = self.catalogue.get(image.parent) if image.parent is not None else None
            before = {layer.chain: self._bytes_of(layer) for layer in self.layers.stack(image.chain)}
            self.catalogue.drop(image.id)
            self.tell("delete", image)
            records.append({"Deleted": image.id})
            gone = await self.layers.release(image.chain) if image.chain is not None else []
            records += [{"Deleted": layer.chain} for layer in gone]
            reclaimed += sum(before[layer.chain] for layer in gone)
            if parent is None or not prune_parents or not removal.goes_with_its_child(self._facts(parent)):
                return reclaimed
            image = parent
