"""Work on threads that is not left behind: whoever gives it up returns once it has ended.

A thread cannot be stopped. `asyncio.to_thread` that is cancelled returns at once and leaves its thread with files that
its caller then removes; work that had not begun never begins.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def on_thread(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    return await to_its_end(asyncio.to_thread(function, *arguments, **named))


async def acquired(acquire: Callable[[], R], release: Callable[[R], object]) -> R:
    """What `acquire` makes; given up meanwhile it is released again. Both are called on threads."""
    making = asyncio.ensure_future(asyncio.to_thread(acquire))
    try:
        return await to_its_end(making)
    except asyncio.CancelledError:
        if not making.cancelled() and making.exception() is None:
            await on_thread(release, making.result())
        raise


async def to_its_end(work: Awaitable[R]) -> R:
    """Its result. Cancelled, however often, this ends when the work has."""
    task = asyncio.ensure_future(work)
    given_up: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            given_up = error
    if given_up is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # it was asked for: nobody else will look at it
    raise given_up
