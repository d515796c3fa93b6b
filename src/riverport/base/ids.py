"""Ids: 16-byte UUIDs in Kafka's text form, and the number types that must not be mixed."""

import base64
import os
import random
from typing import NewType, Protocol

Offset = NewType("Offset", int)
LeaderEpoch = NewType("LeaderEpoch", int)
BrokerId = NewType("BrokerId", int)

ZERO_UUID = bytes(16)
ONE_UUID = bytes(15) + b"\x01"
METADATA_TOPIC_ID = ONE_UUID
"""The fixed topic id of `__cluster_metadata` (KIP-516): AAAAAAAAAAAAAAAAAAAAAQ."""


def uuid_text(value: bytes) -> str:
    """The 22 character form that Kafka prints: base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def uuid_bytes(text: str) -> bytes:
    """The 16 bytes of an id in Kafka's text form. Raises ValueError with the text in it."""
    try:
        value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a base64url id: {error}") from error
    if len(value) != 16:
        raise ValueError(f"{text!r} decodes to {len(value)} bytes, an id has 16")
    return value


class IdSource(Protocol):
    """Where new ids come from: the operating system in a process, a seeded generator in the simulator."""

    def uuid(self) -> bytes:
        """A random version 4 UUID that is not reserved and whose text form starts with no dash."""
        ...


def _usable(raw: bytes) -> bytes | None:
    value = bytearray(raw)
    value[6] = value[6] & 0x0F | 0x40
    value[8] = value[8] & 0x3F | 0x80
    # A leading dash reads as an option on a command line, so Kafka never hands such an id out either.
    return None if uuid_text(bytes(value)).startswith("-") else bytes(value)


class SystemIds:
    """Ids from the operating system's randomness."""

    def uuid(self) -> bytes:
        while True:
            if value := _usable(os.urandom(16)):
                return value


class SeededIds:
    """The same ids for the same seed, for tests and the simulator."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def uuid(self) -> bytes:
        while True:
            if value := _usable(self._random.randbytes(16)):
                return value
