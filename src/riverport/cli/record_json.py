"""Records as JSON objects, one a line: what `consume --json` prints and `produce --json` reads.

    {"topic":"t","partition":0,"offset":7,"timestamp":1700000000000,"key":"k","value":"v","headers":[["n","v"]]}

Bytes that are UTF-8 are strings; others are `{"base64": "..."}`, so nothing is lost.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from riverport.kafka.client.consumer import ConsumedRecord


def record_json(record: "ConsumedRecord") -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": bytes_json(record.key),
        "value": bytes_json(record.value),
        "headers": [[name, bytes_json(value)] for name, value in record.headers],
    }


def bytes_json(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return bytes(data).decode("utf-8")
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"base64": b64encode(data).decode("ascii")}


def json_bytes(found: Any) -> bytes | None:
    """The bytes that `bytes_json` made `found` of. Raises ValueError for anything else."""
    if found is None:
        return None
    if isinstance(found, str):
        return found.encode("utf-8", "surrogatepass")
    if isinstance(found, Mapping) and set(found) == {"base64"} and isinstance(found["base64"], str):
        from base64 import b64decode

        return b64decode(found["base64"], validate=True)
    raise ValueError('expected a string, null or {"base64": "..."}')
