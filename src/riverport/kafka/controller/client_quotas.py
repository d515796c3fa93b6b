"""Client quotas: who may be limited in what, and which limits there are (KIP-13, KIP-546, KIP-599, KIP-612).

An entity is a user, a client id, both, or an address; a name of None stands for all that have no quota of their own.
"""

import ipaddress
import math
from collections.abc import Callable, Mapping
from typing import Any

from riverport.kafka.controller.image import MetadataImage
from riverport.kafka.controller.outcome import Outcome
from riverport.kafka.wire import messages as m
from riverport.kafka.wire.errors import ApiError, ErrorCode

USER, CLIENT_ID, IP = "user", "client-id", "ip"
EXACT, DEFAULT, SPECIFIED = 0, 1, 2

_Entity = dict[str, str | None]
_Result = m.AlterClientQuotasResponse

_OF_CLIENTS = {
    "producer_byte_rate": "LONG", "consumer_byte_rate": "LONG", "request_percentage": None,
    "controller_mutation_rate": None,
}  # fmt: skip
_OF_ADDRESSES = {"connection_creation_rate": "INT"}
"""Keys, and the kind of whole number that a value must fit; None takes any number."""
_MOST = {"INT": 2**31 - 1, "LONG": 2**63 - 1}


class ClientQuotas:
    """Decisions on quotas; the image is only read."""

    def __init__(self, image: MetadataImage, resolves: Callable[[str], bool]) -> None:
        """`resolves` tells whether a name is one of a host."""
        self._image = image
        self._resolves = resolves

    def alter(self, request: m.AlterClientQuotasRequest) -> Outcome:
        results: dict[tuple[tuple[str, str | None], ...], tuple[_Entity, ApiError | None]] = {}
        records: list[Any] = []
        for entry in request.entries:
            entity: _Entity = {part.entity_type: part.entity_name for part in entry.entity}
            key = _key(entity)
            try:
                if key in results or len({op.key for op in entry.ops}) < len(entry.ops):
                    raise _invalid(f"Ignoring duplicate entity ClientQuotaEntity(entries={_shown(entity)})")
                new = self._records(entity, entry.ops)
            except ApiError as refused:
                results[key] = (entity, refused)
            else:
                results[key] = (entity, None)
                records += new
        entries = [_result(entity, error) for entity, error in results.values()]
        return Outcome(_Result(entries=entries), [] if request.validate_only else records)

    def _records(self, entity: _Entity, ops: Any) -> list[Any]:
        allowed = _keys_of(entity)
        host = entity.get(IP)
        if host is not None and not _is_address(host) and not self._resolves(host):
            raise _invalid(f"{host} is not a valid IP or resolvable host.")
        current = self._image.quotas.get(_key(entity), {})
        part = m.ClientQuotaRecord.EntityData
        records = []
        for op in ops:
            if not op.remove:
                _ensure_valid(allowed, op.key, op.value)
            if (op.key in current) if op.remove else current.get(op.key) != op.value:
                named = [part(kind, name) for kind, name in sorted(entity.items())]
                records.append(m.ClientQuotaRecord(named, op.key, 0.0 if op.remove else op.value, op.remove))
        return records


def describe(image: MetadataImage, request: m.DescribeClientQuotasRequest) -> m.DescribeClientQuotasResponse:
    """The quotas of all entities that have what is asked for; `strict` lets nothing else in them. Raises ApiError."""
    exact: _Entity = {}
    any_of: set[str] = set()
    for component in request.components:
        kind, match = component.entity_type, component.match
        if not kind:
            raise _invalid("Invalid empty entity type.")
        if kind in exact or kind in any_of:
            raise _invalid(f"Entity type {kind} cannot appear more than once in the filter.")
        if kind not in (USER, CLIENT_ID, IP):
            raise ApiError(ErrorCode.UNSUPPORTED_VERSION, f"Unsupported entity type {kind}")
        if component.match_type == EXACT:
            if match is None:
                raise _invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.")
            exact[kind] = match
        elif component.match_type == DEFAULT:
            if match is not None:
                raise _invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string.")
            exact[kind] = None
        elif component.match_type == SPECIFIED:
            if match is not None:
                raise _invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.")
            any_of.add(kind)
        else:
            raise _invalid(f"Unknown match type {component.match_type}")
    if IP in (*exact, *any_of) and (USER in (*exact, *any_of) or CLIENT_ID in (*exact, *any_of)):
        raise _invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or "
            "clientId filter component."
        )
    response = m.DescribeClientQuotasResponse(error_message="", entries=[])
    assert response.entries is not None
    for parts, values in image.quotas.items():
        if _matches(dict(parts), exact, any_of, strict=request.strict):
            response.entries.append(_described(parts, values))
    return response


def _matches(entity: _Entity, exact: _Entity, any_of: set[str], *, strict: bool) -> bool:
    if strict and len(entity) != len(exact) + len(any_of):
        return False
    return all(kind in entity and entity[kind] == name for kind, name in exact.items()) and any_of <= entity.keys()


def _described(parts: tuple[tuple[str, str | None], ...], values: Mapping[str, float]) -> Any:
    of = m.DescribeClientQuotasResponse
    return of.EntryData(
        [of.EntityData(kind, name) for kind, name in parts],
        [of.ValueData(key, values[key]) for key in sorted(values)],
    )


def _key(entity: _Entity) -> tuple[tuple[str, str | None], ...]:
    """As the image has it."""
    return tuple(sorted(entity.items(), key=lambda part: part[0]))


def _keys_of(entity: _Entity) -> Mapping[str, str | None]:
    """What such an entity can be limited in. Raises ApiError for what is no entity."""
    if not entity:
        raise _invalid("Invalid empty client quota entity")
    for kind, name in entity.items():
        if kind not in (USER, CLIENT_ID, IP):
            raise _invalid(f"Unhandled client quota entity type: {kind}")
        if name == "":
            raise _invalid(f"Empty {kind} not supported")
    if IP not in entity:
        return _OF_CLIENTS
    if len(entity) > 1:
        # The missing blank is Apache Kafka's.
        raise _invalid("Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId")
    return _OF_ADDRESSES


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _ensure_valid(allowed: Mapping[str, str | None], key: str, value: float) -> None:
    if key not in allowed:
        raise _invalid(f"Invalid configuration key {key}")
    if value <= 0:
        raise _invalid(f"Quota {key} must be greater than 0")
    whole = allowed[key]
    if whole is None:
        return
    if value > _MOST[whole]:
        raise _invalid(f"Proposed value for {key} is too large for {'an' if whole == 'INT' else 'a'} {whole}.")
    if math.isnan(value) or abs(value % 1.0) > 1e-6:
        raise _invalid(f"{key} cannot be a fractional value.")


def _shown(entity: _Entity) -> str:
    return "{" + ", ".join(f"{kind}={name}" for kind, name in entity.items()) + "}"


def _result(entity: _Entity, error: ApiError | None) -> Any:
    named = [_Result.EntityData(kind, name) for kind, name in entity.items()]
    return _Result.EntryData(error.code if error else 0, error.message if error else None, named)


def _invalid(message: str) -> ApiError:
    return ApiError(ErrorCode.INVALID_REQUEST, message)
