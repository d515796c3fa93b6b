"""The `platform` of a request: text of the form `os/arch[/variant]`, or, since 1.46, an OCI platform in JSON."""

import json
from typing import Any, Final

from riverport.engine.api.routing import Request, Version
from riverport.engine.build.golang import quote_rune
from riverport.engine.errors import InvalidParameter
from riverport.engine.images.platform import Platform

_TEXTS: Final = ("os", "os.version", "architecture", "variant")
_LISTS: Final = ("os.features",)
_AFTER: Final = {
    "Expecting property name": "looking for beginning of object key string",
    "Expecting ':'": "after object key",
    "Expecting ','": "after object key:value pair",
    "Expecting value": "looking for beginning of value",
    "Extra data": "after top-level value",
    "Invalid control character": "in string literal",
    "Invalid \\": "in string escape code",
}
"""Where Go's `encoding/json` meets what Python's meets."""


def written_platform(request: Request, since: Version) -> Platform | None:
    text = request.one("platform") if request.version >= since else ""
    return Platform.parse(text) if text else None


def platform_of(request: Request, since: Version) -> Platform | None:
    """In JSON; an older API has no such parameter. Of several the first counts."""
    text = request.one("platform") if request.version >= since else ""
    return decode(text) if text else None


def only_platform_of(request: Request, since: Version) -> Platform | None:
    """The same where several may come some day."""
    if request.version >= since and len(request.many("platform")) > 1:
        raise InvalidParameter("multiple platform parameters not supported")
    return platform_of(request, since)


def decode(text: str) -> Platform:
    """Raises InvalidParameter as dockerd says it, which for what is no JSON are Go's words."""
    document = _fields(_parsed(text))
    platform = Platform.from_document(document)
    if document.get("os") and document.get("architecture"):
        return platform
    is_optional = any(document.get(key) for key in ("variant", "os.version", "os.features"))
    if is_optional and not document.get("os") and not document.get("architecture"):
        raise InvalidParameter("optional platform fields provided, but OS and Architecture are missing")
    raise InvalidParameter("both OS and Architecture must be provided")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refused)
    except json.JSONDecodeError as error:
        reason = _reason(error)
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise InvalidParameter(f"failed to parse platform: {reason}")


def _refused(word: str) -> None:
    raise ValueError(f"invalid character {quote_rune(ord(word[0]))} looking for beginning of value")


def _reason(error: json.JSONDecodeError) -> str:
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    where = next((words for beginning, words in _AFTER.items() if error.msg.startswith(beginning)), error.msg)
    return f"invalid character {quote_rune(ord(error.doc[error.pos]))} {where}"


def _fields(document: Any) -> dict[str, Any]:
    """What OCI's platform has, whose names Go reads in any case; a null is nothing."""
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise _mistaken(document, "value of type v1.Platform")
    found = {}
    for name, value in document.items():
        key = name.lower()
        if value is None or key not in _TEXTS + _LISTS:
            continue
        if key in _TEXTS and not isinstance(value, str):
            raise _mistaken(value, f"struct field Platform.{key} of type string")
        if key in _LISTS and not isinstance(value, list):
            raise _mistaken(value, f"struct field Platform.{key} of type []string")
        found[key] = value
    return found


def _mistaken(value: Any, target: str) -> InvalidParameter:
    kinds: dict[type, str] = {bool: "bool", dict: "object", list: "array", str: "string"}
    kind = kinds.get(type(value), "number")
    return InvalidParameter(f"failed to parse platform: json: cannot unmarshal {kind} into Go {target}")
