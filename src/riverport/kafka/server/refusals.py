"""The answer of any API to a request that failed as a whole: its error code wherever the answer has room for one."""

from typing import Any

from riverport.kafka.wire.api import Api
from riverport.kafka.wire.errors import ApiError, WireError


def refuse(api: Api, body: Any, error: ApiError) -> Any:
    """An answer with the error at the top, or one entry with the error for each item of the request.

    Raises WireError where the answer has no error code at either place.
    """
    answer: Any = api.response()
    if "error_code" in answer._fields:
        answer.error_code = int(error.code)
        if "error_message" in answer._fields:
            answer.error_message = error.message
        return answer
    for field in answer._struct.fields:
        if field.array and field.struct is not None and any(f.name == "error_code" for f in field.struct.fields):
            getattr(answer, field.name).extend(_entries(answer, field, body, error))
            return answer
    raise WireError(f"{api.name} failed and its answer has no place to say so: {error}")


def _entries(answer: Any, field: Any, body: Any, error: ApiError) -> list[Any]:
    cls = getattr(type(answer), field.struct.name)
    entries = []
    for items in (getattr(body, name) for name in body._fields):
        if not isinstance(items, list):
            continue
        for item in items:
            entry = cls(error_code=int(error.code))
            for name in entry._fields:
                if name in getattr(item, "_fields", ()) and name not in ("error_code",):
                    value = getattr(item, name)
                    if not isinstance(value, list):
                        setattr(entry, name, value)
            if isinstance(item, str) and entry._fields and hasattr(entry, "name"):
                entry.name = item
            entries.append(entry)
        break
    return entries
