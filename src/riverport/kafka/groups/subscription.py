"""What consumers say in the metadata of their protocol: the coordinator only needs the topics.

Metadata is parsed in version 0, which every later version begins with, so that newer clients do not matter.
"""

import struct
from collections.abc import Iterable

from riverport.kafka.wire import codec
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import WireError


def topics_of(metadata: Iterable[bytes]) -> frozenset[str] | None:
    """All topics that the members of a group subscribe to; None where one of them cannot be read."""
    topics: set[str] = set()
    for one in metadata:
        try:
            (version,) = struct.unpack_from(">h", one)
            if version < 0:
                return None
            topics.update(codec.decode(m.ConsumerProtocolSubscription, 0, one, 2)[0].topics)
        except (struct.error, WireError):
            return None
    return frozenset(topics)
