"""What records mean in the topics that Kafka keeps for itself: the metadata log and the coordinators' topics."""

from typing import Any

from riverport.base.ids import uuid_text
from riverport.cli.dump.segments import Meaning
from riverport.cli.record_json import bytes_json
from riverport.kafka.records.record import Record
from riverport.kafka.wire import codec, messages
from riverport.kafka.wire.classes import StructBase
from riverport.kafka.wire.coordinator_records import Family, decode_key, decode_value
from riverport.kafka.wire.errors import WireError
from riverport.kafka.wire.metadata_records import decode_record

FAMILIES: dict[str, Family] = {
    "__consumer_offsets": "group",
    "__transaction_state": "transaction",
    "__share_group_state": "share",
}
CONSUMER_BYTES = {"subscription": "ConsumerProtocolSubscription", "assignment": "ConsumerProtocolAssignment"}
"""Fields of a classic group's members that hold messages of the consumers' own protocol."""


def meaning_of(topic: str) -> Meaning | None:
    """How to read the records of a topic; None for one that applications write."""
    if topic == "__cluster_metadata":
        return _metadata
    family = FAMILIES.get(topic)
    return None if family is None else lambda record: _coordinator(record, family)


def _metadata(record: Record) -> dict[str, Any]:
    message, version = decode_record(record.value or b"")
    return {"type": type(message).__name__, "version": version, "data": message_json(message)}


def _coordinator(record: Record, family: Family) -> dict[str, Any]:
    if record.key is None:
        raise WireError("a coordinator record without a key")
    key = decode_key(record.key, family)
    if key is None:
        return {"type": "unknown", "key": bytes_json(record.key), "value": bytes_json(record.value)}
    name = type(key).__name__.removesuffix("Key")
    if record.value is None:
        return {"type": name, "key": message_json(key), "data": None}
    value = decode_value(getattr(messages, f"{name}Value"), record.value)
    return {"type": name, "key": message_json(key), "data": _with_protocol(message_json(value), value)}


def message_json(message: Any) -> Any:
    """A message of the wire package as JSON: ids as Kafka writes them, bytes that are no text as base64."""
    if isinstance(message, StructBase):
        found = {}
        for field in message._struct.fields:
            value = getattr(message, field.name)
            as_uuid = field.type == "uuid" and value is not None
            found[field.name] = _uuids(value) if as_uuid else message_json(value)
        return found
    if isinstance(message, (list, tuple)):
        return [message_json(part) for part in message]
    if isinstance(message, (bytes, bytearray, memoryview)):
        return bytes_json(bytes(message))
    return message


def _uuids(value: Any) -> Any:
    return [uuid_text(one) for one in value] if isinstance(value, list) else uuid_text(value)


def _with_protocol(found: Any, value: Any) -> Any:
    """A classic group's members with their subscriptions and assignments opened, where consumers wrote them."""
    if getattr(value, "protocol_type", None) != "consumer":
        return found
    for member, shown in zip(value.members, found["members"]):
        for field, name in CONSUMER_BYTES.items():
            data = bytes(getattr(member, field) or b"")
            cls = getattr(messages, name)
            version = min(int.from_bytes(data[:2], "big"), cls._message.versions.high)
            try:
                shown[field] = message_json(codec.decode(cls, version, data, 2)[0]) if data else None
            except WireError:
                continue  # between clients: what is not of the known form is shown as bytes
    return found
