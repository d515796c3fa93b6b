"""The directory of one partition: what it is called in its log directory, and the file that says whose log it is.

    orders-0                       a log
    orders-0.<unique>-delete       it was deleted, its removal is due
    orders-0.<unique>-future       a copy that was to take the place of one in another directory (KIP-113)
    orders-0.<unique>-stray        it should not be here, and is kept for the operator

`partition.metadata` names the topic's id: a name may be given to another topic.
"""

import re
from errno import ENOENT
from typing import Literal

from riverport.base.files import Files, StorageError
from riverport.base.ids import uuid_bytes, uuid_text

PARTITION_METADATA = "partition.metadata"
MAX_NAME = 255
_LOG = re.compile(r"([a-zA-Z0-9._-]+)-(0|[1-9][0-9]{0,9})", re.ASCII)
_LEFTOVER = re.compile(r".+-(0|[1-9][0-9]{0,9})\.[^.]+-(delete|future)", re.ASCII | re.DOTALL)


def partition_of(name: str) -> tuple[str, int] | None:
    """The topic and the partition whose log is in a directory of this name; None for any other."""
    match = _LOG.fullmatch(name)
    return None if match is None else (match[1], int(match[2]))


def is_leftover(name: str) -> bool:
    """Whether a start has to remove what is called so. What only ends alike is somebody else's, and stays."""
    return _LEFTOVER.fullmatch(name) is not None


def future_index(name: str) -> int | None:
    """The partition of a copy that was on its way; None for any other."""
    match = _LEFTOVER.fullmatch(name)
    return int(match[1]) if match is not None and match[2] == "future" else None


def name_aside(topic: str, partition: int, unique: bytes, kind: Literal["delete", "future", "stray"]) -> str:
    """What a directory is called that is no log's, or not yet. A long topic's name is cut."""
    end = f"-{partition}.{uuid_text(unique).replace('-', '_')}-{kind}"
    return topic[: MAX_NAME - len(end)] + end


def write_topic_id(files: Files, path: str, topic_id: bytes) -> None:
    """Not synced: the first flush of the log does that."""
    text = f"version: 0\ntopic_id: {uuid_text(topic_id)}"
    files.write(f"{path}/{PARTITION_METADATA}", text.encode(), sync=False)


def read_topic_id(files: Files, path: str) -> bytes | None:
    """None where a log was made and its first flush never came: the process or the machine died right then."""
    try:
        for line in files.read(f"{path}/{PARTITION_METADATA}").decode().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "topic_id":
                return uuid_bytes(value.strip())
    except ValueError:
        return None
    except StorageError as error:
        if error.errno != ENOENT:
            raise
    return None
