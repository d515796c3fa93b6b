"""Requests that can be read and mean nothing, or little: random values in every field of every API and version."""

from random import Random
from typing import Any

from tests.kafka.wire.values import INTEGER_RANGES, Chances, random_value

from riverport.kafka.records.builder import NewRecord, build_batch
from riverport.kafka.server.api import HANDLERS
from riverport.kafka.wire.api import Api, ApiKey, apis
from riverport.kafka.wire.codec import encode
from riverport.kafka.wire.frame import request_head
from riverport.kafka.wire.schema import Field

DEADLY = frozenset(
    (ApiKey.UNREGISTER_BROKER, ApiKey.UPDATE_FEATURES, ApiKey.BROKER_REGISTRATION, ApiKey.BROKER_HEARTBEAT)
)
"""What would take the broker away from those who test it: rightly so."""
TEXTS = ["", "t", "u", "g", "__consumer_offsets", "range", "consumer", "1", "x" * 300, "é€😀", "a b"]
PAYLOADS = [
    b"",
    b"\xff" * 70,
    bytes(build_batch([NewRecord(b"k", b"v", timestamp=1_700_000_000_000)])),
    bytes(build_batch([NewRecord(None, b"v", timestamp=1)], producer_id=5, producer_epoch=0, base_sequence=0)),
]


class Senseless(Chances):
    """Numbers and names that are there rather often, so that requests get further than the first check."""

    def integer(self, field: Field) -> int:
        if self.rng.random() < 0.6:
            return self.rng.randint(max(INTEGER_RANGES[field.type][0], -2), 5)
        return super().integer(field)

    def text(self, field: Field) -> str:
        return self.rng.choice(TEXTS)

    def octets(self, field: Field) -> bytes:
        return self.rng.choice(PAYLOADS)


def served(kind: str = "broker") -> list[Api]:
    """What a kind of listener serves."""
    known = [api for key, api in sorted(apis().items()) if key in HANDLERS and key not in DEADLY]
    return [api for api in known if kind in api.listeners]


def senseless_request(rng: Random, kind: str = "broker") -> tuple[str, bytes]:
    """What it is, and its payload: a frame without its size."""
    api = rng.choice(served(kind))
    version = rng.randint(api.versions.low, api.versions.high)
    request: Any = random_value(api.request.__name__, version, Senseless(rng, most_elements=rng.choice([1, 2, 4])))
    body = encode(request, version)
    head = request_head(api.key, version, rng.randrange(1000), rng.choice(TEXTS[:4]), len(body))
    return f"{api.name} v{version}", head[4:] + body
