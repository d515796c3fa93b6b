"""Encode and decode messages. The only exception that leaves this module is WireError."""

import struct
from typing import Any, TypeVar

from riverport.kafka.wire.decoder import Decoder, compile_decoder
from riverport.kafka.wire.encoder import Encoder, compile_encoder
from riverport.kafka.wire.errors import WireError

Buffer = bytes | bytearray | memoryview
T = TypeVar("T")

_encoders: dict[tuple[type, int], Encoder] = {}
_decoders: dict[tuple[type, int], Decoder] = {}


def decode(cls: type[T], version: int, buf: Buffer, pos: int = 0) -> tuple[T, int]:
    """Read one message (or nested struct) at `pos`; returns it and the position behind it.

    Records fields are slices of `buf`, so they live as long as it does and change with it. Bytes after the message are
    left alone, as Apache Kafka does. Raises WireError for anything that is not a whole, valid message of the version.
    """
    decoder = _decoders.get((cls, version)) or decoder_for(cls, version)
    try:
        obj, pos = decoder(buf, pos, len(buf))
    except (struct.error, IndexError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise WireError(f"{cls.__name__} v{version}: {error}") from error
    return obj, pos


def encode_parts(obj: Any, version: int) -> list[Any]:
    """The message as chunks to be sent one after another; records fields are the very buffers they were given as."""
    encoder = _encoders.get((type(obj), version)) or encoder_for(type(obj), version)
    parts: list[Any] = []
    try:
        encoder(obj, parts.append)
    except (struct.error, TypeError, UnicodeEncodeError, OverflowError) as error:
        raise WireError(f"{type(obj).__name__} v{version}: {error}") from error
    return parts


def encode(obj: Any, version: int) -> bytes:
    """The message as one bytes object. Raises WireError for what the version cannot carry."""
    return b"".join(encode_parts(obj, version))


def decoder_for(cls: type, version: int) -> Decoder:
    """The compiled decoder of one version. Raises WireError for a version that the message does not have."""
    found = _decoders.get((cls, version))
    if found is None:
        _check(cls, version)
        found = _decoders[cls, version] = compile_decoder(cls._message, cls._struct, version)  # type: ignore[attr-defined]
    return found


def encoder_for(cls: type, version: int) -> Encoder:
    """The compiled encoder of one version. Raises WireError for a version that the message does not have."""
    found = _encoders.get((cls, version))
    if found is None:
        _check(cls, version)
        found = _encoders[cls, version] = compile_encoder(cls._message, cls._struct, version)  # type: ignore[attr-defined]
    return found


def _check(cls: type, version: int) -> None:
    message = getattr(cls, "_message", None)
    if message is None:
        raise TypeError(f"{cls!r} is no message of the protocol")
    if version not in message.versions:
        raise WireError(f"{message.name} has no version {version}, only {message.versions.low}-{message.versions.high}")
