"""`docker import`: a tar of a root file system becomes an image of one layer."""

import asyncio
from collections.abc import AsyncIterable, Sequence

from riverport.engine.build.config import apply_changes
from riverport.engine.images.compose import composed
from riverport.engine.images.feed import consumed
from riverport.engine.images.image import Image
from riverport.engine.images.platform import Platform
from riverport.engine.images.reference import Reference
from riverport.engine.images.store import ImageStore
from riverport.engine.storage.compression import Hashed, decompressed
from riverport.engine.storage.layers import Layer, LayerStore, Staged
from riverport.engine.storage.recipe import RecipeWriter
from riverport.engine.storage.tar_reader import Source
from riverport.engine.storage.unpack import Unpacked, unpack


async def import_image(
    images: ImageStore,
    stream: AsyncIterable[bytes],
    *,
    reference: Reference | None = None,
    changes: Sequence[str] = (),
    message: str = "",
    platform: Platform | None = None,
) -> Image:
    """Raises InvalidArchive for a stream that is no archive; then nothing is left of it."""
    config = apply_changes({}, changes)  # first, as a wrong change is known before the archive has come
    layer = await import_layer(images.layers, stream)
    try:
        raw = composed(
            None,
            config,
            created_ns=images.clock_ns(),
            diff_id=layer.diff_id,
            comment=message or "Imported from -",
            platform=platform,
        )
        image = images.create(raw)
    finally:
        await images.layers.release(layer.chain)
    if reference is not None:
        images.name(image, reference.or_latest())
    images.tell("import", image, reference.or_latest().familiar if reference is not None else None)
    return image


async def import_layer(layers: LayerStore, stream: AsyncIterable[bytes]) -> Layer:
    """The lowest layer of an image, from an archive in any compression; the caller has one use of it."""
    staged = layers.stage()
    try:
        diff_id, unpacked = await consumed(stream, lambda source: asyncio.to_thread(unpack_staged, source, staged))
        return await layers.register(None, staged, diff_id, unpacked)
    except BaseException:
        await layers.discard(staged)
        raise


def unpack_staged(source: Source, staged: Staged, algorithm: str = "sha256") -> tuple[str, Unpacked]:
    """On a thread: unpack, hash and write down how to pack again, in one pass; returns the diff id."""
    writer = RecipeWriter(staged.recipe)
    try:
        plain = Hashed(decompressed(source), algorithm)
        unpacked = unpack(plain, staged.diff, writer)
    except BaseException:
        writer.abandon()
        raise
    writer.close()
    return plain.digest, unpacked
