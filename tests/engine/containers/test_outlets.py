"""What a thread writes arrives whole, however reader and writer meet."""

import asyncio

import pytest

from riverport.engine.containers.bridge import PIECE_BYTES, QUEUED_PIECES, Outlet


@pytest.mark.parametrize("count", [0, 1, QUEUED_PIECES - 1, QUEUED_PIECES, QUEUED_PIECES + 1, 3 * QUEUED_PIECES])
@pytest.mark.parametrize("reader_is_late", [True, False])
def test_everything_arrives_and_then_the_end(count: int, reader_is_late: bool) -> None:
    """A queue that was full when the work ended left its reader waiting for ever: `docker export` hung."""

    async def scenario() -> int:
        outlet = Outlet()

        def write() -> None:
            for _ in range(count):
                outlet.write(bytes(PIECE_BYTES))

        work = asyncio.ensure_future(asyncio.to_thread(write))
        if reader_is_late and count <= QUEUED_PIECES:
            await asyncio.wait({work})
        return sum([len(piece) async for piece in outlet.pieces(work)])

    async def bounded() -> int:
        return await asyncio.wait_for(scenario(), 30)

    assert asyncio.run(bounded()) == count * PIECE_BYTES


def test_a_failure_is_told_after_what_was_written() -> None:
    async def scenario() -> list[int]:
        outlet = Outlet()

        def write() -> None:
            outlet.write(bytes(PIECE_BYTES))
            raise OSError("no more")

        pieces = outlet.pieces(asyncio.ensure_future(asyncio.to_thread(write)))
        told = [len(await anext(pieces))]
        with pytest.raises(OSError, match="no more"):
            await anext(pieces)
        return told

    assert asyncio.run(scenario()) == [PIECE_BYTES]
