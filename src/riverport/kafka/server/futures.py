"""Answers that are made of other answers."""

import asyncio
from collections.abc import Callable
from typing import Any


def mapped(source: "asyncio.Future[Any]", make: Callable[[Any], Any]) -> "asyncio.Future[Any]":
    """A future of `make(result of source)`; it fails as `source` fails, or with what `make` raises."""
    made = source.get_loop().create_future()

    def done(source: "asyncio.Future[Any]") -> None:
        if made.done():
            return
        if source.cancelled():
            made.cancel()
            return
        try:
            made.set_result(make(source.result()))
        except Exception as error:
            made.set_exception(error)

    source.add_done_callback(done)
    return made
