"""Kinds of configuration resources, where a value comes from, what a change does; and which topic names are valid."""

import re
from enum import IntEnum
from typing import NamedTuple


class ResourceType(IntEnum):
    """What a configuration belongs to; the numbers of the admin APIs and of ConfigRecord."""

    UNKNOWN = 0
    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32

    @classmethod
    def of(cls, number: int) -> "ResourceType":
        return cls(number) if number in _NUMBERS else cls.UNKNOWN


_NUMBERS = frozenset(kind.value for kind in ResourceType)


class ConfigSource(IntEnum):
    """Where a value comes from, as DescribeConfigs says it."""

    DYNAMIC_TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5
    DYNAMIC_BROKER_LOGGER = 6
    CLIENT_METRICS = 7
    GROUP = 8


class Operation(IntEnum):
    """What one entry of IncrementalAlterConfigs does (KIP-339)."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class Resource(NamedTuple):
    """A resource by name; the name "" is every broker for BROKER, and not allowed for the other kinds."""

    kind: ResourceType
    name: str


def whole_number(text: str) -> int | None:
    """A node's id as it is written in a resource's name; None if this is no number."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,10}", text) else None


TOPIC_NAME_MAX = 249
_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]+")


def topic_name_problem(name: str) -> str | None:
    """Why this cannot be a topic's name, in the words that Kafka answers with."""
    if not name:
        reason = "the empty string is not allowed"
    elif name in (".", ".."):
        reason = f"'{name}' is not allowed"
    elif len(name) > TOPIC_NAME_MAX:
        reason = f"the length of '{name}' is longer than the max allowed length {TOPIC_NAME_MAX}"
    elif not _TOPIC_NAME.fullmatch(name):
        reason = f"'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    else:
        return None
    return f"Topic name is invalid: {reason}"
