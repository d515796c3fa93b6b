"""Requests that may meet a dead daemon."""

import http.client
import struct
import time
from typing import Any

from tests.engine.harness import Engine

PATIENCE_S = 60


class Interrupted(Exception):
    """The daemon died before it answered, or is not there."""


class Stuck(Exception):
    """Nothing happens any more."""


def call(engine: Engine, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Raises Interrupted."""
    try:
        return engine.api(method, path, body, headers, timeout=PATIENCE_S)
    except TimeoutError as error:
        raise Stuck(f"{method} {path}: no answer in {PATIENCE_S} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"{method} {path}: {error}") from error


def wait_up(engine: Engine) -> None:
    """Until a daemon answers. Raises Stuck."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if call(engine, "GET", "/_ping")[0] == 200:
                return
        except Interrupted:
            if time.monotonic() > deadline:
                raise Stuck(f"no daemon answers for {PATIENCE_S} s") from None
        time.sleep(0.02)


def persist(engine: Engine, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any, bool]:
    """Ask until there is an answer; also whether it took more than one try. Raises Stuck."""
    again = False
    while True:
        try:
            return *call(engine, method, path, body, **headers), again
        except Interrupted:
            again = True
            wait_up(engine)


def output(frames: bytes) -> str:
    """What a container without a terminal has printed, out of the frames of `logs`."""
    found, at = [], 0
    while at + 8 <= len(frames):
        (size,) = struct.unpack_from(">I", frames, at + 4)
        found.append(frames[at + 8 : at + 8 + size])
        at += 8 + size
    return b"".join(found).decode(errors="replace")
