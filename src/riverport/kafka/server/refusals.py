"""The answer of any API to a request that failed as a whole: its error code wherever the answer has room for one.

Answers mirror requests: who asks about topics and their partitions is answered by topics and partitions. So the entries
of an answer are made from those of the request, by what names a thing in both (`_NAMES`, `_INDEXES`).
"""

from typing import Any

from riverport.kafka.wire.api import Api
from riverport.kafka.wire.errors import ApiError, WireError
from riverport.kafka.wire.schema import Field, Struct

_NAMES = (
    "name", "topic", "topic_name", "topic_id", "group_id", "member_id", "group_instance_id", "key", "transactional_id",
    "resource_type", "resource_name", "producer_id", "feature", "user",
)  # fmt: skip
_INDEXES = ("partition_index", "partition", "index", "partition_id")
_CHANGES_OF_SESSION = "forgotten_topics_data"
"""A list of a request that no entry of its answer stands for."""


def refuse(api: Api, body: Any, error: ApiError) -> Any:
    """An answer with the error at the top and in an entry for each item of the request, as far as it has such places.

    Raises WireError where it has none.
    """
    answer: Any = api.response()
    if not _fill(answer, body, error, api.response):
        raise WireError(f"{api.name} failed and its answer has no place to say so: {error}")
    return answer


def _fill(entry: Any, asked: Any, error: ApiError, classes: Any) -> bool:
    """Whether the error found a place in the entry or below it. `classes` has those of nested structs."""
    placed = "error_code" in entry._fields
    if placed:
        entry.error_code = int(error.code)
        if "error_message" in entry._fields:
            entry.error_message = error.message
    for field in entry._struct.fields:
        if not _bears_error(field):
            continue
        placed = True  # also where nothing was asked about: the answer is then as empty as the request
        for item in _counterparts(field, asked):
            made = getattr(classes, field.type)()
            _name(made, item)
            _fill(made, item, error, classes)
            getattr(entry, field.name).append(made)
    return placed


def _bears_error(field: Field) -> bool:
    return field.array and field.struct is not None and _has_error(field.struct)


def _has_error(struct: Struct) -> bool:
    return any(field.name == "error_code" or _bears_error(field) for field in struct.fields)


def _counterparts(field: Field, asked: Any) -> list[Any]:
    """The items of the request that a list of the answer speaks of: of the same name, else whatever is listed there."""
    if field.name in getattr(asked, "_fields", ()):
        return getattr(asked, field.name) or []
    names = (name for name in getattr(asked, "_fields", ()) if name != _CHANGES_OF_SESSION)
    return [item for name in names if isinstance(found := getattr(asked, name), list) for item in found]


def _name(made: Any, item: Any) -> None:
    """Say which item of the request an entry of the answer is about."""
    index = next((name for name in _INDEXES if name in made._fields), None)
    if isinstance(item, int) and index is not None:
        setattr(made, index, item)
    elif isinstance(item, str):
        name = next((name for name in _NAMES if name in made._fields), None)
        if name is not None:
            setattr(made, name, item)
    elif not isinstance(item, int | str):
        for name in _NAMES:
            if name in made._fields and name in item._fields:
                setattr(made, name, getattr(item, name))
        asked_index = next((name for name in _INDEXES if name in item._fields), None)
        if index is not None and asked_index is not None:
            setattr(made, index, getattr(item, asked_index))
