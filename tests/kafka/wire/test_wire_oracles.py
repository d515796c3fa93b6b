"""Other people's codecs, kio and kafka-python: they read what we write as the same values, and write the same bytes.

What they lack is left out of the values: neither keeps unknown tags; kio has error codes up to 133, times only to the
second, and no message that is new in 4.4; kafka-python has 52 of the APIs.
"""

import datetime
import importlib
import io
import pkgutil
import uuid
from dataclasses import fields as dataclass_fields
from functools import cache
from random import Random
from typing import Any

import pytest
from tests.kafka.wire.values import Chances, every_message, present, random_value, versions_of

from riverport.kafka.wire import schema
from riverport.kafka.wire.codec import encode
from riverport.kafka.wire.schema import Field

VALUES_EACH = 2
NEW_IN_44 = {
    ("ApiVersions", 5),
    ("DeleteGroups", 3),
    ("TxnOffsetCommit", 6),
    ("StreamsGroupHeartbeat", 1),
    ("StreamsGroupDescribe", 1),
    ("StreamsGroupTopologyDescriptionUpdate", 0),
    ("UnregisterController", 0),
}
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class TamedChances(Chances):
    """Values that both oracles can represent."""

    def integer(self, field: Field) -> int:
        if field.name.endswith("error_code"):
            return self.rng.randint(0, 133)
        if field.name.endswith(("ms", "timestamp", "timestamp_delta")):
            return self.rng.randint(0, 1_000_000) * 1000
        if field.name.endswith("authorized_operations"):
            return self.rng.randint(0, 2**31 - 1)
        return super().integer(field)


def tamed(name: str, version: int, rng: Random) -> Any:
    return random_value(name, version, TamedChances(rng, unknown_tags=False))


def api_name(message: str) -> str:
    return message.removesuffix("Request").removesuffix("Response")


def plain(value: Any, version: int, *, absent_structs: bool = False) -> Any:
    """Our value as nested lists: one list a struct, the version's fields in the table's order.

    With `absent_structs`, None where a tagged struct has its default, since it is not sent then.
    """
    if isinstance(value, list):
        return [plain(element, version, absent_structs=absent_structs) for element in value]
    if not hasattr(value, "_struct"):
        return value
    found = []
    for field in value._struct.fields:
        if present(value._message, field, version):
            inner = getattr(value, field.name)
            if absent_structs and field.struct and not field.array and field.tag is not None and inner == type(inner)():
                inner = None
            found.append(plain(inner, version, absent_structs=absent_structs))
    return found


def plain_kio(value: Any) -> Any:
    if isinstance(value, tuple):
        return [plain_kio(element) for element in value]
    if hasattr(value, "__dataclass_fields__"):
        return [plain_kio(getattr(value, field.name)) for field in dataclass_fields(value)]
    match value:
        case datetime.timedelta():
            return round(value.total_seconds() * 1000)
        case datetime.datetime():
            return round((value - EPOCH).total_seconds() * 1000)
        case uuid.UUID():
            return value.bytes
    return value


REQUESTS_AND_RESPONSES = [name for name in every_message() if name.endswith(("Request", "Response"))]


@pytest.mark.parametrize("name", REQUESTS_AND_RESPONSES)
def test_kio_has_the_same_values_and_bytes(name: str) -> None:
    kio = pytest.importorskip("kio.index")
    serial = importlib.import_module("kio.serial")
    load = kio.load_request_schema if name.endswith("Request") else kio.load_response_schema
    rng = Random(name)
    for version in versions_of(name):
        if (api_name(name), version) in NEW_IN_44:
            continue
        theirs = load(schema.parse_message(name).key, version)
        for _ in range(VALUES_EACH):
            ours = tamed(name, version, rng)
            data = encode(ours, version)
            value, size = serial.entity_reader(theirs)(data, 0)
            assert size == len(data)
            # kio has no zero uuid: None stands for it.
            assert without_zeros(plain_kio(value)) == without_zeros(plain(ours, version)), version
            written = io.BytesIO()
            serial.entity_writer(theirs)(written, value)
            assert written.getvalue() == data, version


def without_zeros(value: Any) -> Any:
    if isinstance(value, list):
        return [without_zeros(element) for element in value]
    return None if value == bytes(16) else value


@cache
def kafka_python_classes() -> dict[str, Any]:
    """Every message class of kafka-python by its official name."""
    package = pytest.importorskip("kafka.protocol", minversion=None)
    api_message = pytest.importorskip("kafka.protocol.api_message")
    for module in pkgutil.walk_packages(package.__path__, "kafka.protocol."):
        if ".old" not in module.name and "generate" not in module.name:
            importlib.import_module(module.name)
    return {cls.__name__: cls for cls in api_message.ApiMessage.__subclasses__()}


def plain_kafka_python(value: Any, version: int) -> Any:
    if isinstance(value, list | tuple):
        return [plain_kafka_python(element, version) for element in value]
    if hasattr(value, "_struct"):
        return [
            plain_kafka_python(getattr(value, field.name), version)
            for field in value._struct._fields
            if field.for_version_q(version)
        ]
    if isinstance(value, set):  # of the bits of an authorized-operations field
        bits = sum(1 << bit for bit in value)
        return bits - 2**32 if bits >= 2**31 else bits
    return value.bytes if isinstance(value, uuid.UUID) else value


@pytest.mark.parametrize("name", REQUESTS_AND_RESPONSES)
def test_kafka_python_has_the_same_values_and_bytes(name: str) -> None:
    theirs = kafka_python_classes().get(name)
    if theirs is None:
        return
    rng = Random(name)
    for version in versions_of(name):
        if version > theirs.max_version:
            continue
        flexible = version in schema.parse_message(name).flexible
        how = {"version": version, "compact": flexible, "tagged": flexible}
        for _ in range(VALUES_EACH):
            ours = tamed(name, version, rng)
            data = encode(ours, version)
            value = theirs._struct.decode(io.BytesIO(data), **how)
            # It has no default for a tagged struct either: None stands for one that is not there.
            expected = without_zeros(plain(ours, version, absent_structs=True))
            assert without_zeros(plain_kafka_python(value, version)) == expected, version
            assert theirs._struct.encode(value, **how) == data, version
